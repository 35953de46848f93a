"""The ModelDeployments of a manifest file, read and refused as `kubectl apply` and the API server do.

Sources: https://kubernetes.io/docs/reference/using-api/api-concepts/#field-validation (``Strict``, which kubectl asks
for) for unknown and repeated fields; kubectl's ``--namespace`` for the namespace.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import kubernetes
import yaml
from typing_extensions import override

from fairlead_cli.plugin import errors
from fairlead_operator.api import crd, names


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifests:
    """The ModelDeployments of a file in their order, and the other objects as ``Kind name``."""

    models: list[Mapping[str, Any]]
    others: list[str]


def read(text: str) -> Manifests:
    """The objects of all documents and lists.

    Raises:
        errors.PluginError: the text is no YAML, repeats a key, has an object without a kind or an unknown field, names
            one ModelDeployment twice, or has none.
    """
    models: list[Mapping[str, Any]] = []
    others: list[str] = []
    for each in _expand(_documents(text)):
        if each["kind"] == names.KIND:
            _check(each)
            models.append(each)
        else:
            others.append(f"{each['kind']} {(each.get('metadata') or {}).get('name')}")
    if not models:
        raise errors.PluginError(f"The file contains no {names.KIND}.")
    keys = [(each["metadata"].get("namespace"), each["metadata"]["name"]) for each in models]
    if (twice := next((key for key in keys if keys.count(key) > 1), None)) is not None:
        raise errors.PluginError(f"The file contains {names.KIND} {twice[1]} twice; a plan is for one of them.")
    return Manifests(models=models, others=others)


def find_namespace(manifest: Mapping[str, Any], option: str | None) -> str | None:
    """Where the manifest goes: its own namespace, else that of ``--namespace``; None: that of the context.

    Raises:
        errors.PluginError: both are there and differ.
    """
    own: str | None = manifest["metadata"].get("namespace")
    if own is not None and option is not None and own != option:
        raise errors.PluginError(
            f"{manifest['metadata']['name']}: metadata.namespace is {own} and --namespace is {option}; "
            f"they must be the same."
        )
    return own if own is not None else option


class _StrictLoader(yaml.SafeLoader):
    @override
    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(
                        problem=f"key {key.value} is repeated", problem_mark=key.start_mark
                    )
                seen.add(key.value)
        return super().construct_mapping(node, deep=deep)


def _documents(text: str) -> Iterator[Any]:
    try:
        yield from yaml.load_all(text, Loader=_StrictLoader)
    except yaml.YAMLError as error:
        raise errors.PluginError(f"The file is not YAML: {' '.join(str(error).split())}") from error


def _expand(documents: Iterator[Any]) -> Iterator[Mapping[str, Any]]:
    """Objects alone; a list is its items."""
    for each in documents:
        if each is None:
            continue
        if not isinstance(each, Mapping) or not isinstance(each.get("kind"), str):
            raise errors.PluginError("A document of the file has no kind.")
        if not each["kind"].endswith("List"):
            yield each
        elif isinstance(items := each.get("items") or [], list):
            yield from _expand(iter(items))
        else:
            raise errors.PluginError(f"items of {each['kind']} must be a list.")


def _check(manifest: Mapping[str, Any]) -> None:
    metadata = manifest.get("metadata")
    name = metadata.get("name") if isinstance(metadata, Mapping) else None
    if not isinstance(name, str):
        raise errors.PluginError(f"A {names.KIND} of the file has no metadata.name.")
    if (version := manifest.get("apiVersion")) != names.API_VERSION:
        raise errors.PluginError(f"{name}: apiVersion must be {names.API_VERSION}, not {version}.")
    if unknown := list(_unknown_fields(manifest, _schema(), "")):
        fields = ", ".join(f'unknown field "{field}"' for field in unknown)
        raise errors.PluginError(f"{name}: strict decoding error: {fields}")


@functools.cache
def _schema() -> Mapping[str, Any]:
    """The CRD's, with the metadata that every object has."""
    schema = crd.root_schema()
    metadata: Mapping[str, Any] = {field: {} for field in kubernetes.client.V1ObjectMeta.attribute_map.values()}
    roots = {"apiVersion": {}, "kind": {}, "metadata": {"properties": metadata}}
    return {**schema, "properties": {**schema["properties"], **roots}}


def _unknown_fields(value: object, schema: Mapping[str, Any], path: str) -> Iterator[str]:
    """What the API server would prune. A value of the wrong type has no fields here; the types are checked later."""
    if isinstance(value, list):
        for place, item in enumerate(value):
            yield from _unknown_fields(item, schema.get("items") or {}, f"{path}[{place}]")
    elif isinstance(value, Mapping) and (known := schema.get("properties")) is not None:
        for field, inner in value.items():
            here = f"{path}.{field}" if path else str(field)
            if field in known:
                yield from _unknown_fields(inner, known[field], here)
            else:
                yield here
