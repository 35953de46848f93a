"""A model in a bucket: applied as a person would, it answers like the model itself; a missing Secret is said."""

from __future__ import annotations

import json
from pathlib import Path

import obstore
import pytest
from tests.e2e.stage import Model, Stage
from tests.support import object_servers

pytestmark = [pytest.mark.real, pytest.mark.timeout(1200)]
ROWS = 5


@pytest.mark.nightly
def test_a_model_in_a_bucket_answers_and_its_secret_is_in_no_configuration(stage: Stage, tmp_path: Path) -> None:
    trained = stage.models.version("v1")
    with object_servers.s3_server(tmp_path / "s3") as url:
        store = object_servers.s3_store(url)
        folder = trained.folder / "saved_model"
        for path in folder.rglob("*"):
            if path.is_file():
                obstore.put(store, f"digits/{path.relative_to(folder)}", path.read_bytes())
        # No digest: the node may have this content already, and reads no Secret for content that it has.
        source = {"uri": "s3://models/digits", "endpoint": url, "credentialsSecretName": "reader", "digest": None}

        waiting = Model(stage, "bucket-closed")
        waiting.apply(model={**source, "credentialsSecretName": "absent"})
        try:
            named = "spec.model.credentialsSecretName: the Ray node has no Secret 'absent'"
            waiting.until("the missing Secret is said", lambda found: named in json.dumps(found.get("status")))
        finally:
            waiting.delete()

        object_servers.write_secret(stage.local.source_secrets, "reader", object_servers.S3_SECRET)
        with stage.deployed("bucket", model=source) as model:
            answer = model.infer(stage.models.inputs(ROWS))
            assert answer.status_code == 200, answer.text
            expected = [value for row in trained.outputs(ROWS) for value in row]
            found_values = answer.json()["outputs"][0]["data"]
            assert all(abs(one - other) < 1e-4 for one, other in zip(found_values, expected, strict=True))
            shown = json.dumps(stage.ray.applications())
            assert "reader" in shown
            assert not [value for value in object_servers.S3_SECRET.values() if value in shown]
