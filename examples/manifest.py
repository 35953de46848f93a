"""The manifest of a trained model: what a person would apply, with the path and the digest filled in."""

from __future__ import annotations

import pathlib

import yaml

TEMPLATE = """apiVersion: fairlead.dev/v1alpha1
kind: ModelDeployment
metadata:
  name: {name}
spec:
  model:
    uri: {uri}
    version: {version}
{digest}  serving:
    resources: {{cpu: 250m, memory: 800Mi}}
  scaling:
    replicas: {replicas}
"""


def render(*, name: str, uri: str, version: str, digest: str | None, replicas: int = 1) -> str:
    """At most 15 lines of YAML; without a digest the first replica's reading pins the content."""
    line = "" if digest is None else f"    digest: {digest}\n"
    text = TEMPLATE.format(name=name, uri=uri, version=version, digest=line, replicas=replicas)
    yaml.safe_load(text)
    return text


def write(path: pathlib.Path, *, model: pathlib.Path, name: str, version: str, digest: str | None) -> None:
    """Writes the manifest for a model on this machine's disk."""
    uri = model.resolve().as_uri()
    path.write_text(render(name=name, uri=uri, version=version, digest=digest), encoding="utf-8")
