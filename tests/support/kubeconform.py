"""Manifests judged by kubeconform, with the schemas that a real API server publishes."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml
from tests.support.kube_api import KubeApi

from fairlead_cli.local import cluster

_REFERENCE = "#/definitions/"
_TEMPLATE = "{{ .ResourceKind }}{{ .KindSuffix }}.json"
_LOOSE = {
    "io.k8s.apimachinery.pkg.api.resource.Quantity": {"type": ["string", "number"]},
    "io.k8s.apimachinery.pkg.util.intstr.IntOrString": {"type": ["string", "integer"]},
}
"""What the API server takes as a number as well, and publishes as a string."""


def write_schemas(api: KubeApi, folder: Path) -> None:
    """A file for each kind that the API server has; a field that a kind doesn't have is an error."""
    published = api.get("/openapi/v2")
    assert published is not None
    definitions = {name: _LOOSE.get(name) or _strict(each) for name, each in published["definitions"].items()}
    (folder / "definitions.json").write_text(json.dumps({"definitions": definitions}))
    for name, each in published["definitions"].items():
        for kind in each.get("x-kubernetes-group-version-kind", ()):
            path = folder / _file_name(kind["group"], kind["version"], kind["kind"])
            path.write_text(json.dumps({"$ref": f"definitions.json{_REFERENCE}{name}"}))


def write_schemas_of_crds(kubernetes: cluster.LocalCluster, files: Iterable[Path], folder: Path) -> None:
    """The same for kinds that the API server doesn't have. kubectl parses the files: PyYAML takes a minute for some."""
    for file in files:
        done = kubernetes.kubectl("create", "--dry-run=client", "--output=json", f"--filename={file}")
        assert done.returncode == 0, done.stderr
        spec = json.loads(done.stdout)["spec"]
        for version in spec["versions"]:
            path = folder / _file_name(spec["group"], version["name"], spec["names"]["kind"])
            path.write_text(json.dumps(_strict(version["schema"]["openAPIV3Schema"])))


def _file_name(group: str, version: str, kind: str) -> str:
    """As kubeconform makes it of an object: `KindSuffix` is the first part of the group, and the version."""
    return "-".join(filter(None, (kind.lower(), group.partition(".")[0], version))) + ".json"


def _strict(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_strict(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    made = {name: _strict(value) for name, value in schema.items()}
    if isinstance(made.get("properties"), dict) and "x-kubernetes-preserve-unknown-fields" not in schema:
        made.setdefault("additionalProperties", False)
    return made


def find_faults(program: Path, schemas: Path, objects: Iterable[Mapping[str, Any]]) -> tuple[int, list[str]]:
    """How many objects were judged, and a sentence for each that doesn't fit its schema or has none."""
    argv = [str(program), f"-schema-location={schemas}/{_TEMPLATE}", "-output=json", "-summary", "-strict", "-"]
    text = yaml.safe_dump_all([dict(each) for each in objects])
    done = subprocess.run(argv, input=text, capture_output=True, text=True, check=False, timeout=120)
    assert done.stdout, done.stderr
    report = json.loads(done.stdout)
    faults = [f"{each['kind']} {each['name']}: {each['msg']}" for each in report.get("resources", ())]
    assert report["summary"]["skipped"] == 0, report
    return sum(report["summary"].values()), faults
