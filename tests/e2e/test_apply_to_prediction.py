"""The shortest story: a manifest is applied, a model answers, it is deleted, nothing is left."""

from __future__ import annotations

import itertools

import pytest
from tests.e2e import stage as staging
from tests.e2e.stage import Model, Stage
from tests.support import object_servers, payload_sink, ray_nodes
from tests.support.until import until

pytestmark = [pytest.mark.real, pytest.mark.timeout(1200)]
ROWS = 20
TOKEN = "a-token-that-is-shown-nowhere"


def test_an_applied_model_becomes_ready_and_answers_like_the_model_itself(stage: Stage) -> None:
    with stage.deployed("digits") as model:
        expected = stage.models.version("v1").outputs(ROWS)
        by_inference = model.infer(stage.models.inputs(ROWS))
        assert by_inference.status_code == 200, by_inference.text
        output = by_inference.json()["outputs"][0]
        assert output["shape"] == [ROWS, 10]
        assert _close(output["data"], [value for row in expected for value in row])
        by_serving = model.predict(stage.models.inputs(ROWS))
        assert by_serving.status_code == 200, by_serving.text
        assert all(
            _close(row, expected_row)
            for row, expected_row in zip(by_serving.json()["predictions"], expected, strict=True)
        )
        assert {by_inference.headers["x-fairlead-revision"], by_serving.headers["x-fairlead-revision"]} == {
            model.stable
        }
        _check_conditions_and_columns(stage, model)
        _check_events(model)
        _check_payload_log(stage, model)
    _check_nothing_is_left(stage, model)


def _check_conditions_and_columns(stage: Stage, model: Model) -> None:
    found = model.read()
    assert found is not None
    stable = found["status"]["stableRevision"]
    states = {each["type"]: each["status"] for each in found["status"]["conditions"]}
    assert states == {
        "Ready": "True",
        "Available": "True",
        "Accepted": "True",
        "Progressing": "False",
        "Degraded": "False",
        "Reconciling": "False",
        "Stalled": "False",
    }
    assert all(each["message"] and each["observedGeneration"] == 1 for each in found["status"]["conditions"])
    header, row = stage.kubectl("get", "mdep", model.name).splitlines()
    assert header.split() == ["NAME", "READY", "STABLE", "CANDIDATE", "WEIGHT", "PHASE", "REPLICAS", "AGE"]
    assert row.split()[:5] == [model.name, "True", stable, "Ready", "1"]
    header, row = stage.kubectl("get", "mdep", model.name, "-o", "wide").splitlines()
    assert header.split()[-4:] == ["VERSION", "DIGEST", "URL", "MESSAGE"]
    assert f"v1        {stage.models.version('v1').digest}" in row
    assert f" {stage.local.gateway_url}/v2/models/{model.name} " in row
    assert staging.condition(found, "Ready")["message"] in row


def _check_events(model: Model) -> None:
    reasons = until(
        lambda: {"RevisionCreated", "RolloutStarted", "Promoted"} <= {r for r, _ in model.events()}, "events"
    )
    assert reasons
    assert all(sentence and "\n" not in sentence for _, sentence in model.events())


def _check_payload_log(stage: Stage, model: Model) -> None:
    """It begins while the replica runs, with the real parts between the manifest and the sink."""
    stable, row, numbers = model.stable, stage.models.inputs(1), itertools.count()
    with payload_sink.receiving() as sink:
        model.apply(monitoring={"payloads": {"url": sink.url, "samplePercent": 100}})

        def ask() -> str:
            request_id = f"logged-{next(numbers)}"
            assert model.infer(row, x_request_id=request_id).status_code == 200
            return request_id

        until(lambda: ask() and sink.requests, "an event, once Ray has handed the log to the replica")
        event = sink.events(1)[0]
        name = event["data"]["inputs"][0]["name"]
        assert sink.authorizations[-1] is None
        object_servers.write_secret(stage.local.source_secrets, "events-writer", {"token": TOKEN})
        given = {"url": sink.url, "samplePercent": 100, "redact": [name], "credentialsSecretName": "events-writer"}
        model.apply(monitoring={"payloads": given})
        until(lambda: ask() and "omitted" in sink.last()["data"]["inputs"][0], "an event without the input")
        last = ask()
        until(lambda: sink.last()["requestid"] == last, "the event of the last request")
        assert sink.authorizations[-1] == f"Bearer {TOKEN}"
        shown = stage.kubectl("get", "mdep", model.name, "-o", "yaml") + str(stage.ray.applications(model.name))
        assert "events-writer" in shown
        assert TOKEN not in shown
    assert event["requestid"].startswith("logged-")
    assert event["source"] == f"/namespaces/{stage.local.namespace}/models/{model.name}/revisions/{stable}"
    assert _close(event["data"]["inputs"][0]["data"], row[0])
    assert _close(event["data"]["outputs"][0]["data"], stage.models.version("v1").outputs(1)[0])
    assert model.stable == stable
    assert [each["number"] for each in model.status()["revisions"]] == [1]


def _check_nothing_is_left(stage: Stage, model: Model) -> None:
    until(lambda: not stage.api.revisions(model.name), "the garbage collector takes the revisions", deadline_s=400)
    answer = stage.gateway.get(f"/v2/models/{model.name}")
    assert answer.status_code == 404
    assert model.name in answer.text
    until(
        lambda: not [each for each in ray_nodes.listed(stage.local) if each["model"] == model.name],
        "its replicas left their node's directory",
    )


def _close(found: list[float], expected: list[float]) -> bool:
    return len(found) == len(expected) and all(
        abs(one - other) < 1e-4 for one, other in zip(found, expected, strict=True)
    )
