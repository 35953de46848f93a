"""The committed manifests are short, valid, and name what the training would make."""

from __future__ import annotations

import pathlib

import pytest
import yaml
from examples import manifest

from fairlead_operator.api import spec

EXAMPLES = pathlib.Path(manifest.__file__).parent


@pytest.mark.parametrize("name", ["dense", "cnn", "lstm", "gru", "attention"])
def test_a_committed_manifest_has_at_most_15_lines_and_is_valid(name: str) -> None:
    text = (EXAMPLES / f"{name}.yaml").read_text()
    found = yaml.safe_load(text)
    parsed = spec.ModelDeploymentSpec.model_validate(found["spec"])

    assert len(text.splitlines()) <= 15
    assert (found["apiVersion"], found["kind"]) == ("fairlead.dev/v1alpha1", "ModelDeployment")
    assert found["metadata"] == {"name": name}
    assert parsed.model.uri == f"file:///srv/models/{name}/v1/saved_model"


@pytest.mark.parametrize("name", ["dense", "cnn", "lstm", "gru", "attention"])
def test_a_committed_manifest_is_what_training_writes_but_for_path_and_digest(name: str) -> None:
    uri = f"file:///srv/models/{name}/v1/saved_model"
    written = manifest.render(name=name, uri=uri, version="v1", digest=None)

    assert yaml.safe_load(written) == yaml.safe_load((EXAMPLES / f"{name}.yaml").read_text())


def test_no_field_of_a_manifest_is_unknown_to_the_operator() -> None:
    written = yaml.safe_load(manifest.render(name="dense", uri="file:///m", version="v1", digest="sha256:" + "0" * 64))
    parsed = spec.ModelDeploymentSpec.model_validate(written["spec"])

    assert parsed.model_dump(by_alias=True, exclude_unset=True, mode="json") == written["spec"]
