"""Versions that can't serve: none gets a request, the old one goes on, and the reason is the loader's own."""

from __future__ import annotations

import contextlib
import http.server
import os
import pathlib
import shutil
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
from examples import digest
from tests.e2e import stage as staging
from tests.e2e.counted import counted, require_no_failures
from tests.e2e.measured import RESULTS
from tests.e2e.our_processes import kill_operator
from tests.e2e.stage import LONG_RATE, Model, Stage
from tests.support.until import until

from fairlead_cli import load

pytestmark = [pytest.mark.real, pytest.mark.timeout(1200)]
REASON = "InsufficientCapacity"
WRONG_DIGEST = "sha256:" + "0" * 64
STARTS_MAX = 3
STARTS_OF_TWO_ATTEMPTS = 2 * STARTS_MAX
"""The second attempt follows the first at once, the third after 30 s: beyond the deadline of 25 s."""


@pytest.fixture(scope="module")
def steady(stage: Stage) -> Iterator[Model]:
    """The model that all bad versions are applied to."""
    with stage.deployed("steady") as model:
        yield model


@contextlib.contextmanager
def _wrong_digest(_stage: Stage, _folder: pathlib.Path) -> Iterator[Mapping[str, Any]]:
    yield {"model": {"digest": WRONG_DIGEST}}


@contextlib.contextmanager
def _not_found(_stage: Stage, folder: pathlib.Path) -> Iterator[Mapping[str, Any]]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), lambda *given: _Empty(*given, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        # A digest that no replica has in its cache: a known content would be served without asking anybody.
        model = {"uri": f"http://127.0.0.1:{server.server_port}/digits.keras", "digest": WRONG_DIGEST}
        # It may come back, so it is tried again, but not beyond the deadline.
        yield {"model": model, "serving": {"requestTimeoutSeconds": 5}, "rollout": {"progressDeadlineSeconds": 25}}
    finally:
        server.shutdown()
        server.server_close()


class _Empty(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        """Says nothing."""


@contextlib.contextmanager
def _corrupt(stage: Stage, folder: pathlib.Path) -> Iterator[Mapping[str, Any]]:
    """The file was broken before anybody took its digest."""
    model = folder / "saved_model"
    shutil.copytree(stage.models.version("v2").folder / "saved_model", model)
    graph = model / "saved_model.pb"
    graph.write_bytes(graph.read_bytes()[: graph.stat().st_size // 2])
    yield {"model": {"uri": model.as_uri(), "digest": digest.hash_path(model)}}


@contextlib.contextmanager
def _wrong_signature(_stage: Stage, _folder: pathlib.Path) -> Iterator[Mapping[str, Any]]:
    yield {"model": {"signature": "no_such_signature"}}


Bad = Callable[[Stage, pathlib.Path], Any]
BAD: Mapping[str, tuple[Bad, str, str]] = {
    "wrong digest": (_wrong_digest, "DigestMismatch", WRONG_DIGEST),
    "nothing there": (_not_found, "ModelNotFound", "answered 404"),
    "corrupt": (_corrupt, "ModelCorrupt", "saved_model"),
    "wrong signature": (_wrong_signature, "SignatureNotFound", "no_such_signature"),
}


@pytest.mark.parametrize(
    "kind",
    [
        "wrong digest",
        pytest.param("nothing there", marks=pytest.mark.nightly),
        pytest.param("corrupt", marks=pytest.mark.nightly),
        pytest.param("wrong signature", marks=pytest.mark.nightly),
    ],
)
def test_a_version_that_cannot_serve_never_gets_a_request(
    stage: Stage, steady: Model, tmp_path: pathlib.Path, kind: str
) -> None:
    make, reason, words = BAD[kind]
    with make(stage, tmp_path) as broken:
        starts_max = STARTS_OF_TWO_ATTEMPTS if kind == "nothing there" else STARTS_MAX
        bad = _refused_under_load(stage, steady, kind, broken, starts_max=starts_max)
    assert (bad["reason"], words in bad["message"]) == (reason, True), bad


def test_a_version_that_no_node_can_hold_waits_without_a_start_and_says_what_is_missing(
    stage: Stage, steady: Model
) -> None:
    before = steady.stable
    with counted(steady, rate=LONG_RATE) as run:
        steady.apply("v2", label="too-large", serving={"resources": {"memory": "16Ti"}, "requestTimeoutSeconds": 5})
        found = steady.until("waiting", lambda found: staging.condition(found, "Stalled").get("reason") == REASON)
        kill_operator(stage.local)
        steady.apply("v2", label="large-enough")
        settled = steady.until_settled(other_than=before)
        report = run.stop()
    require_no_failures(report)
    stalled = staging.condition(found, "Stalled")
    assert (stalled["status"], "the Ray cluster has room for " in stalled["message"]) == ("True", True), stalled
    assert found["status"]["replicas"] == 1
    assert set(report.revisions) == {before, settled["status"]["stableRevision"]}


@pytest.mark.nightly
def test_a_version_whose_process_is_killed_while_it_loads_never_gets_a_request(stage: Stage, steady: Model) -> None:
    """As the kernel does it to a model that takes more memory than there is.

    Processes start the ordinary way here: a forked one has loaded the model before it can be found.
    """
    off = stage.local.warm_start("ray") / "off"

    def kill_starting_replicas() -> None:
        for pid in stage.ray.replica_pids(steady.name, state="STARTING"):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    off.touch()
    try:
        bad = _refused_under_load(stage, steady, "killed while it loads", {}, meanwhile=kill_starting_replicas)
    finally:
        off.unlink()
    assert (bad["reason"], "process was killed" in bad["message"]) == ("DeployFailed", True), bad


def _refused_under_load(
    stage: Stage,
    model: Model,
    kind: str,
    broken: Mapping[str, Any],
    *,
    meanwhile: Callable[[], None] = lambda: None,
    starts_max: int = STARTS_MAX,
) -> Mapping[str, Any]:
    """Applies a bad version under load; what its quarantine says of it, after all that holds for each was seen."""
    before = model.stable
    with counted(model, rate=LONG_RATE) as run:
        run.wait_until(lambda seen: seen.requests > 100, timeout_s=400)
        model.apply("v2", label=kind.replace(" ", "-"), **broken)
        found = model.until("refused", lambda found: (meanwhile(), _is_refused(found))[1])
        bad: Mapping[str, Any] = found["status"]["quarantine"][-1]
        degraded = staging.condition(found, "Degraded")
        assert degraded["status"] == "True"
        assert bad["message"] in degraded["message"]
        starts = _is_not_tried_again(stage, model, bad["revision"])
        report = run.stop()
    _keep_row(report, kind, bad, starts)
    require_no_failures(report)
    assert set(report.revisions) == {before}
    assert starts <= starts_max
    return bad


def _keep_row(report: load.Report, kind: str, bad: Mapping[str, Any], starts: int) -> None:
    RESULTS.add(
        "Versions that can't serve",
        {
            "what": kind,
            "reason": bad["reason"],
            "message": bad["message"].replace("|", "/"),
            "replica starts": starts,
            "requests": report.requests,
            "failed": report.failed,
        },
    )


@pytest.mark.nightly
def test_going_back_adopts_the_earlier_revision(stage: Stage, steady: Model) -> None:
    steady.apply("v1")
    first = steady.until_settled()["status"]["stableRevision"]
    steady.apply("v2", rollout={})
    second = steady.until_settled(other_than=first)["status"]["stableRevision"]
    steady.apply("v1")
    found = steady.until_settled(other_than=second)
    assert found["status"]["stableRevision"] == first
    numbers = {each["metadata"]["name"]: each["revision"] for each in stage.api.revisions(steady.name)}
    assert numbers[f"{steady.name}-{first}"] == 1
    assert [each["number"] for each in found["status"]["revisions"] if each["name"] == first] == [1]


def _is_refused(found: Mapping[str, Any]) -> bool:
    status = found["status"]
    return bool(
        status.get("observedGeneration") == found["metadata"]["generation"]
        and staging.condition(found, "Reconciling").get("status") != "True"
        and not status.get("rollout")
        and any(each["revision"] not in (status["stableRevision"],) for each in status.get("quarantine", []))
        and status["quarantine"][-1]["revision"] not in _earlier(found)
    )


def _earlier(found: Mapping[str, Any]) -> set[str]:
    """Revisions other than the desired one: their quarantine is of an earlier row."""
    label = found["spec"]["model"]["version"]
    return {each["name"] for each in found["status"]["revisions"] if each.get("version") != label}


def _is_not_tried_again(stage: Stage, model: Model, revision: str) -> int:
    """Ray has nothing of it any more, also after the object was touched and looked at again; how often it began."""
    until(lambda: revision not in stage.ray.applications(model.name), "Ray has nothing of the bad version")
    passes = stage.operator_metric("fairlead_operator_reconcile_total", kind="ModelKey")
    stage.kubectl("annotate", "mdep", model.name, f"e2e/touched={revision}", "--overwrite")
    until(lambda: stage.operator_metric("fairlead_operator_reconcile_total", kind="ModelKey") > passes, "a new pass")
    assert revision not in stage.ray.applications(model.name)
    return stage.ray.starts(model.name, revision)
