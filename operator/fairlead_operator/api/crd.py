"""The typed models -> ``crds/modeldeployments.yaml``, and the chart's copy of it.

``python -m fairlead_operator.api.crd`` writes the files, ``--check`` compares them. The schema is structural: no
references, no alternatives. Defaults live in code, so that nothing is written into what Git holds, except where the
API server itself needs one (`rules.SERVER_DEFAULT`).

Source: https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/
"""

from __future__ import annotations

import argparse
import pathlib
import sys
from typing import Any

import yaml

from fairlead_operator.api import names, rules, spec, status, text

Schema = dict[str, Any]

# The second is the chart's copy: Helm packs only what lies in the chart's own folder.
DEFAULT_PATHS = (pathlib.Path("crds/modeldeployments.yaml"), pathlib.Path("charts/fairlead/crds/modeldeployments.yaml"))
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
    "pattern",
    "required",
    "default",
    rules.VALIDATIONS,
    rules.INT_OR_STRING,
    text.LIST_MAP_KEYS,
)


def custom_resource_definition() -> Schema:
    """The whole object, as the API server takes it."""
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{names.PLURAL}.{names.GROUP}"},
        "spec": {
            "group": names.GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": names.KIND,
                "listKind": f"{names.KIND}List",
                "plural": names.PLURAL,
                "singular": names.KIND.lower(),
                "shortNames": [names.SHORT_NAME],
                "categories": ["fairlead"],
            },
            "versions": [_version()],
        },
    }


def render() -> str:
    """The file's text."""
    body = yaml.safe_dump(custom_resource_definition(), sort_keys=False, width=120, allow_unicode=True)
    return HEADER + body


def _version() -> Schema:
    return {
        "name": names.VERSION,
        "served": True,
        "storage": True,
        "subresources": {
            "status": {},
            "scale": {
                "specReplicasPath": ".spec.scaling.replicas",
                "statusReplicasPath": ".status.replicas",
                "labelSelectorPath": ".status.selector",
            },
        },
        "additionalPrinterColumns": _columns(),
        "schema": {"openAPIV3Schema": root_schema()},
    }


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
    columns = [{"name": name, "type": kind, "jsonPath": path} for name, kind, path in narrow]
    return columns + [{"name": name, "type": kind, "jsonPath": path, "priority": 1} for name, kind, path in wide]


def root_schema() -> Schema:
    return {
        "description": "ModelDeployment describes a model in production and how a new revision takes over.",
        "type": "object",
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object"},
            "spec": structural(spec.ModelDeploymentSpec.model_json_schema(by_alias=True)),
            "status": structural(status.ModelDeploymentStatus.model_json_schema(by_alias=True)),
        },
        rules.VALIDATIONS: list(spec.OBJECT_RULES),
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
    if "items" in full:
        flat["items"] = _flatten(full["items"], definitions)
        flat["x-kubernetes-list-type"] = "map" if text.LIST_MAP_KEYS in flat else "atomic"
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
    parser.add_argument("files", type=pathlib.Path, nargs="*", help=f"default: {' '.join(map(str, DEFAULT_PATHS))}")
    options = parser.parse_args(arguments)
    wanted = render()
    stale = [path for path in options.files or DEFAULT_PATHS if not _is_current(path, wanted)]
    for path in stale:
        if options.check:
            sys.stderr.write(f"{path} is not current: run python -m fairlead_operator.api.crd\n")
        else:
            path.write_text(wanted, encoding="utf-8")
    return 1 if options.check and stale else 0


def _is_current(path: pathlib.Path, wanted: str) -> bool:
    return path.is_file() and path.read_text(encoding="utf-8") == wanted


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
