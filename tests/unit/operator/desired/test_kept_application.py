"""What runs is what was kept with the revision, whichever version and settings the operator has by now.

``golden/revision.json`` is the ``data`` of a ControllerRevision, with keys of a later version in it, and
``golden/application.json`` what Ray gets of it. A change of either restarts every replica of every user.
"""

from __future__ import annotations

import copy
import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from tests.support import builders

from fairlead_operator.api import names
from fairlead_operator.api.optimization import Optimization
from fairlead_operator.desired import application, serve_config
from fairlead_operator.observe import kubernetes as objects

FOLDER = Path(__file__).parent / "golden"
KEPT = json.loads((FOLDER / "revision.json").read_text())
DEPLOYED = json.loads((FOLDER / "application.json").read_text())
REVISION = "0123456789"
AT = "2026-01-01T00:00:00Z"


def stored(data: dict[str, Any]) -> dict[str, Any]:
    labels = {names.LABEL_MODEL: "digits", names.LABEL_REVISION: REVISION}
    metadata = {"name": f"digits-{REVISION}", "namespace": "default", "labels": labels}
    metadata["annotations"] = {names.ANNOTATION_DIGEST: builders.DIGEST}
    return {"metadata": metadata, "revision": 3, "data": data}


def put_of(data: dict[str, Any]) -> object:
    status = {"stableRevision": REVISION, "attempts": [{"revision": REVISION, "number": 2, "time": AT}]}
    view = builders.model_deployment(spec={"scaling": {"replicas": 3}}, status=status)
    config = serve_config.application(view, objects.view_revision(stored(data)))
    assert config is not None
    return config.body


def test_a_kept_revision_is_deployed_as_stored() -> None:
    assert put_of(KEPT) == DEPLOYED


def test_a_kept_revision_does_not_depend_on_the_version_of_the_operator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(application, "CONFIG_SCHEMA", 99)
    monkeypatch.setattr(application, "IMPORT_PATH", "fairlead_runtime.other:build")
    monkeypatch.setattr(application, "compose", None)
    assert put_of(KEPT) == DEPLOYED


@pytest.mark.parametrize("stages", [1, 2, 8])
def test_a_composed_application_is_read_back_the_same(stages: int) -> None:
    kept = objects.view_revision(stored(KEPT))
    optimization = None if stages == 1 else Optimization.model_validate({"parallelism": {"stages": stages}})
    template = dataclasses.replace(kept.template, optimization=optimization)
    key = builders.observed().key
    made = application.compose(key, REVISION, number=3, template=template, bounds=builders.BOUNDS)
    data = {**KEPT, "application": json.loads(json.dumps(made))}
    assert objects.view_revision(stored(data)).application == made


@pytest.mark.parametrize(
    ("path", "value"),
    [
        pytest.param("application.name", "default--other--0123456789", id="another model's application"),
        pytest.param("application.import_path", "os:system", id="code that isn't ours"),
        pytest.param("application.route_prefix", "/", id="a route of its own"),
        pytest.param("application.deployments", [], id="no deployment"),
        pytest.param("application.deployments", KEPT["application"]["deployments"] * 2, id="two deployments"),
        pytest.param("application.deployments", [{"name": "stage-2"}], id="no first stage"),
        pytest.param("application.args", {}, id="no configuration"),
        pytest.param("cluster", "No Name", id="a name that no cluster has"),
        pytest.param("template.model", {}, id="no model"),
    ],
)
def test_a_forged_or_broken_revision_is_left_out(path: str, value: object) -> None:
    data = copy.deepcopy(KEPT)
    *parents, last = path.split(".")
    place = data
    for parent in parents:
        place = place[parent]
    place[last] = value
    assert objects.view_revisions([stored(data)]) == []
    assert len(objects.view_revisions([stored(data), stored(KEPT)])) == 1
