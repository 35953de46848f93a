"""Where the CRD that the API server has lacks something that this version of the operator writes.

The API server drops a field that its schema lacks, and refuses a word that it doesn't know. Helm never upgrades CRDs,
so an operator that is newer than its CRD is nothing unusual.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from typing import Any

from fairlead_operator.api import crd, names

Schema = Mapping[str, Any]
MISSING_MAX = 20


def missing_from(served: Schema, own: Schema) -> tuple[str, ...]:
    """Fields and words of ``own`` that ``served`` lacks, as dotted paths; the first of them where there are many.

    Both are OpenAPI schemas. What keeps unknown fields lacks none.
    """
    found = sorted(_missing(served, own, ""))
    return tuple(found[:MISSING_MAX])


@functools.cache
def own_schema() -> Schema:
    """What this version writes, made once: it takes tens of milliseconds of the processor."""
    return comparable(crd.root_schema())


def find_schema(document: Schema) -> Schema | None:
    """The schema of our kind in what the API server shows at ``/openapi/v3/apis/GROUP/VERSION``."""
    for schema in ((document.get("components") or {}).get("schemas") or {}).values():
        for kind in schema.get("x-kubernetes-group-version-kind") or ():
            if (kind.get("group"), kind.get("version"), kind.get("kind")) == (names.GROUP, names.VERSION, names.KIND):
                return comparable(schema)
    return None


def comparable(schema: Schema) -> Schema:
    """The parts of our kind's schema that a CRD decides on."""
    properties = schema.get("properties") or {}
    return {"properties": {part: properties.get(part) or {} for part in ("spec", "status")}}


def dropped(sent: Mapping[str, Any], stored: Mapping[str, Any]) -> tuple[str, ...]:
    """The fields of a merge patch that are not in the object as the API server answered it."""
    return tuple(sorted(_dropped(sent, stored, "")))


def _missing(served: Schema, own: Schema, path: str) -> Iterator[str]:
    if served.get("x-kubernetes-preserve-unknown-fields"):
        return
    known = served.get("properties") or {}
    for name, schema in (own.get("properties") or {}).items():
        here = f"{path}.{name}" if path else name
        if name not in known:
            yield here
        else:
            yield from _missing(known[name], schema, here)
    if isinstance(own.get("items"), Mapping):
        yield from _missing(served.get("items") or {}, own["items"], f"{path}[]")
    if "enum" in served:
        yield from (f"{path}={word}" for word in own.get("enum") or () if word not in served["enum"])


def _dropped(sent: object, stored: object, path: str) -> Iterator[str]:
    if isinstance(sent, Mapping):
        held = stored if isinstance(stored, Mapping) else {}
        for name, value in sent.items():
            here = f"{path}.{name}" if path else name
            if value is None:
                continue
            if name not in held:
                yield here
            else:
                yield from _dropped(value, held[name], here)
    elif isinstance(sent, list | tuple) and isinstance(stored, list | tuple) and len(sent) == len(stored):
        for one, other in zip(sent, stored, strict=True):
            yield from _dropped(one, other, f"{path}[]")
