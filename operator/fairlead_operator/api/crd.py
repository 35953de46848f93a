"""The typed models -> ``crds/<plural>.yaml`` for each kind, the chart's copies of them, and their reference in docs.

``python -m fairlead_operator.api.crd`` writes the files, ``--check`` compares them. The schema is structural: no
references, no alternatives. Defaults live in code, so that nothing is written into what Git holds, except where the
API server itself needs one (`rules.SERVER_DEFAULT`), and the status, which no manifest holds.

Source: https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/
"""

from __future__ import annotations

import argparse
import pathlib
import sys
from collections.abc import Sequence
from typing import Any

import pydantic
import yaml
from typing_extensions import override

from fairlead_operator.api import model_route, names, reference, rules, serving_class, spec, status, text

Schema = dict[str, Any]

# The second is the chart's copy: Helm packs only what lies in the chart's own folder, and never upgrades its `crds/`.
FOLDERS = (pathlib.Path("crds"), pathlib.Path("charts/fairlead/files/crds"))
REFERENCE = pathlib.Path("docs/api-reference.md")
HEADER = """\
# Generated from operator/fairlead_operator/api/ by `python -m fairlead_operator.api.crd`: change those models instead.
"""
# Of what pydantic says about a value, what a structural schema may say. Left out: title, const, default.
_KEPT = (
    "description",
    "type",
    "format",
    "enum",
    "minimum",
    "maximum",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "maxProperties",
    "pattern",
    "required",
    "default",
    rules.VALIDATIONS,
    rules.INT_OR_STRING,
    text.LIST_MAP_KEYS,
    text.LIST_TYPE,
)


def custom_resource_definitions() -> dict[str, Schema]:
    """Each kind's whole object, as the API server takes it, by plural."""
    return {
        names.PLURAL: _model_deployments(),
        names.ROUTE_PLURAL: _model_routes(),
        names.CLASS_PLURAL: _serving_classes(),
    }


def render(plural: str) -> str:
    """The text of a kind's file."""
    definition = custom_resource_definitions()[plural]
    return HEADER + yaml.dump(definition, Dumper=_Dumper, sort_keys=False, width=120, allow_unicode=True)


class _Dumper(yaml.SafeDumper):
    """Writes a part that stands in two places twice: a person who reads one of them finds it whole."""

    @override
    def ignore_aliases(self, data: Any) -> bool:
        return True


def _definition(
    kind: str,
    plural: str,
    version: Schema,
    *,
    short: Sequence[str],
    categories: Sequence[str],
    scope: str = "Namespaced",
) -> Schema:
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{names.GROUP}"},
        "spec": {
            "group": names.GROUP,
            "scope": scope,
            "names": {
                "kind": kind,
                "listKind": f"{kind}List",
                "plural": plural,
                "singular": kind.lower(),
                **({"shortNames": list(short)} if short else {}),
                **({"categories": list(categories)} if categories else {}),
            },
            "versions": [{"name": names.VERSION, "served": True, "storage": True, **version}],
        },
    }


def root_schema() -> Schema:
    """The schema of a whole ModelDeployment."""
    properties = {
        "spec": structural(spec.ModelDeploymentSpec.model_json_schema(by_alias=True)),
        "status": _status(status.ModelDeploymentStatus),
    }
    root = _root("ModelDeployment serves a TensorFlow model and rolls out new revisions of it.", properties)
    return root | {rules.VALIDATIONS: list(spec.OBJECT_RULES)}


def _model_deployments() -> Schema:
    version = {
        "subresources": {
            "status": {},
            "scale": {
                "specReplicasPath": ".spec.scaling.replicas",
                "statusReplicasPath": ".status.scaling.replicas",
                "labelSelectorPath": ".status.selector",
            },
        },
        "additionalPrinterColumns": _columns(),
        "schema": {"openAPIV3Schema": root_schema()},
    }
    return _definition(names.KIND, names.PLURAL, version, short=(names.SHORT_NAME,), categories=("fairlead",))


def _status(model: type[pydantic.BaseModel]) -> Schema:
    """A status that says, before the operator's first one, that it has seen no generation.

    Tools take an object without a status for one that needs no controller: kstatus calls it Current.
    """
    return structural(model.model_json_schema(by_alias=True)) | {"default": {"observedGeneration": 0}}


def _model_routes() -> Schema:
    """Without a category: people look at it only to find a fault."""
    properties = {"spec": structural(model_route.ModelRouteSpec.model_json_schema(by_alias=True))}
    words = (
        "ModelRoute defines which revision gets which requests of one model. The operator manages it. Do not edit it."
    )
    columns = [
        _column("Stable", "string", ".spec.stable"),
        _column("Candidate", "string", ".spec.candidate"),
        _column("Weight", "integer", ".spec.candidateWeight"),
        _column("Retired", "boolean", ".spec.retired"),
        _column("Age", "date", ".metadata.creationTimestamp"),
    ]
    version = {"additionalPrinterColumns": columns, "schema": {"openAPIV3Schema": _root(words, properties)}}
    return _definition(names.ROUTE_KIND, names.ROUTE_PLURAL, version, short=(), categories=())


def _serving_classes() -> Schema:
    properties = {
        "spec": structural(serving_class.ServingClassSpec.model_json_schema(by_alias=True)),
        "status": _status(serving_class.ServingClassStatus),
    }
    words = (
        "ServingClass defines the Ray clusters and gateways that serve models. Cluster administrators create it; a "
        "ModelDeployment selects it with `spec.cluster.class`."
    )
    ready = '.status.conditions[?(@.type=="Ready")]'
    columns = [
        _column("Default", "boolean", ".spec.default"),
        _column("Ready", "string", f"{ready}.status"),
        _column("Ray", "string", ".spec.rayVersion"),
        _column("Min", "integer", ".spec.workers.min"),
        _column("Max", "integer", ".spec.workers.max"),
        _column("Age", "date", ".metadata.creationTimestamp"),
        _column("Image", "string", ".spec.image") | {"priority": 1},
        _column("Message", "string", f"{ready}.message") | {"priority": 1},
    ]
    root = _root(words, properties) | {rules.VALIDATIONS: list(serving_class.OBJECT_RULES)}
    version = {
        "subresources": {"status": {}},
        "additionalPrinterColumns": columns,
        "schema": {"openAPIV3Schema": root},
    }
    short = (names.CLASS_SHORT_NAME,)
    return _definition(
        names.CLASS_KIND, names.CLASS_PLURAL, version, short=short, categories=("fairlead",), scope="Cluster"
    )


def _columns() -> list[Schema]:
    ready = '.status.conditions[?(@.type=="Ready")]'
    narrow = [
        ("Ready", "string", f"{ready}.status"),
        ("Stable", "string", ".status.stableRevision"),
        ("Candidate", "string", ".status.candidateRevision"),
        ("Weight", "integer", ".status.rollout.weight"),
        ("Phase", "string", ".status.phase"),
        ("Replicas", "integer", ".status.readyReplicas"),
        ("Age", "date", ".metadata.creationTimestamp"),
    ]
    wide = [
        ("Version", "string", ".status.model.version"),
        ("Digest", "string", ".status.model.digest"),
        ("URL", "string", ".status.endpoints.v2"),
        ("Message", "string", f"{ready}.message"),
    ]
    return [_column(*each) for each in narrow] + [_column(*each) | {"priority": 1} for each in wide]


def _column(name: str, kind: str, path: str) -> Schema:
    return {"name": name, "type": kind, "jsonPath": path}


def _root(description: str, properties: Schema) -> Schema:
    return {
        "description": description,
        "type": "object",
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string", "description": "The API group and version of this object."},
            "kind": {"type": "string", "description": "The kind of this object."},
            "metadata": {"type": "object"},  # the API server describes it by itself, and refuses a description here
            **properties,
        },
    }


def structural(schema: Schema) -> Schema:
    """The JSON schema of a pydantic model as a structural schema: one tree, each value of one type."""
    return _flatten(schema, schema.get("$defs", {}))


def _flatten(schema: Schema, definitions: dict[str, Schema]) -> Schema:
    full = _resolve(schema, definitions)
    flat = {key: full[key] for key in _KEPT if key in full}
    if "description" in flat:
        flat["description"] = " ".join(flat["description"].split())
    if rules.VALIDATIONS in flat:
        flat.pop("pattern", None)  # a rule checks the same, and says what would be right
        for bound in ("minimum", "maximum"):
            if bound in flat and flat[bound] != int(flat[bound]):
                flat.pop(bound)  # as above
    if rules.INT_OR_STRING in flat:
        flat.pop("type", None)
    if "properties" in full:
        flat["properties"] = {name: _flatten(value, definitions) for name, value in full["properties"].items()}
    if isinstance(full.get("additionalProperties"), dict):
        flat["additionalProperties"] = _flatten(full["additionalProperties"], definitions)
    if "items" in full:
        flat["items"] = _flatten(full["items"], definitions)
        flat["x-kubernetes-list-type"] = flat.get(text.LIST_TYPE, "map" if text.LIST_MAP_KEYS in flat else "atomic")
    return flat


def _resolve(schema: Schema, definitions: dict[str, Schema]) -> Schema:
    """The schema with what it refers to put in its place; its own words win over those of the type it refers to."""
    own = {key: value for key, value in schema.items() if key not in ("$ref", "anyOf", "default")}
    if rules.SERVER_DEFAULT in own:
        own["default"] = own.pop(rules.SERVER_DEFAULT)
    if "$ref" in schema:
        return _resolve(definitions[schema["$ref"].rpartition("/")[2]], definitions) | own
    if "anyOf" in schema:
        (only,) = (choice for choice in schema["anyOf"] if choice.get("type") != "null")
        return _resolve(only, definitions) | own
    return own


def main(arguments: list[str]) -> int:
    """Writes or, with ``--check``, compares the files; answers the exit status."""
    parser = argparse.ArgumentParser(prog="python -m fairlead_operator.api.crd", description=main.__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing, exit 1 when a file is not current")
    parser.add_argument("--root", type=pathlib.Path, default=pathlib.Path(), help="the repository's folder")
    options = parser.parse_args(arguments)
    wanted = {options.root / path: text for path, text in files().items()}
    stale = [path for path, text in wanted.items() if not _is_current(path, text)]
    for path in stale:
        if options.check:
            sys.stderr.write(f"{path} is not current: run python -m fairlead_operator.api.crd\n")
        else:
            path.write_text(wanted[path], encoding="utf-8")
    return 1 if options.check and stale else 0


def files() -> dict[pathlib.Path, str]:
    """Each file with its text."""
    definitions = custom_resource_definitions()
    schemas = {folder / f"{plural}.yaml": render(plural) for plural in definitions for folder in FOLDERS}
    return schemas | {REFERENCE: reference.render(definitions)}


def _is_current(path: pathlib.Path, wanted: str) -> bool:
    return path.is_file() and path.read_text(encoding="utf-8") == wanted


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
