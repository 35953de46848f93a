"""The pass over a Ray cluster: one bad model costs the others nothing."""

from __future__ import annotations

import dataclasses
import json
from types import SimpleNamespace
from typing import Any

import pytest
from tests.support import builders

from fairlead_operator import ray_pass, telemetry
from fairlead_operator.desired import serve_config
from fairlead_operator.observe import snapshot
from fairlead_operator.state import keys, knowledge, serve

REV = builders.revision()
GOOD_REV = dataclasses.replace(REV, application={**REV.application, "name": f"default--good--{REV.revision}"})
GOOD = builders.model_deployment(name="good", uid="u-good", status={"stableRevision": REV.revision})
BROKEN = builders.model_deployment(name="broken", uid="u-broken", status={"stableRevision": REV.revision})
RUNNING = builders.application(f"default--broken--{REV.revision}", {"name": f"default--broken--{REV.revision}"})


def made(puts: list[Any]) -> ray_pass.RayPass:
    found = snapshot.NamespaceModels(
        models=(BROKEN, GOOD), revisions={"u-good": (GOOD_REV,), "u-broken": (REV,)}, unreadable=()
    )
    view = serve.ServeView(session="s", applications={RUNNING.name: RUNNING})

    async def list_models(_: str) -> snapshot.NamespaceModels:
        return found

    async def evidence(_: float) -> serve.RayEvidence:
        return knowledge.Known(view)

    async def put(body: bytes) -> None:
        puts.append(json.loads(body))

    poller = SimpleNamespace(evidence=evidence, invalidate=lambda: None)
    client = SimpleNamespace(put_applications=put)
    parts: dict[str, Any] = {
        "observer": SimpleNamespace(list_models=list_models),
        "namespaces": lambda _: SimpleNamespace(placement="default"),
        "clusters": SimpleNamespace(find=lambda _: SimpleNamespace(poller=poller, client=client)),
        "sweep": SimpleNamespace(settle=lambda *_: None),
    }
    return ray_pass.RayPass(**parts, bounds=builders.BOUNDS, metrics=telemetry.Metrics())


async def test_a_model_that_can_not_be_composed_keeps_what_it_runs_and_the_others_go_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    real = serve_config.application

    def application(view: Any, *rest: Any) -> Any:
        if view.name == "broken":
            raise ZeroDivisionError("a bug that only this model meets")
        return real(view, *rest)

    monkeypatch.setattr(serve_config, "application", application)
    puts: list[Any] = []
    ray = made(puts)
    await ray.run(keys.RayKey(builders.NAMESPACE, "default"))
    (body,) = puts
    assert {each["name"] for each in body["applications"]} == {RUNNING.name, f"default--good--{REV.revision}"}
    assert "a bug that only this model meets" in caplog.text
    labels = {"action": "ComposeServeConfig", "outcome": "error"}
    assert ray.metrics.registry.get_sample_value("fairlead_operator_actions_total", labels) == 1
