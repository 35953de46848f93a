"""`kubectl fairlead` as a person uses it, over the virtual world: no request is invented, none is carried out twice."""

from __future__ import annotations

import json
import pathlib
import re
from typing import Any

import pytest
import typer.testing
import yaml
from tests.support.plugin_cluster import WorldCluster
from tests.support.virtual_world import VirtualWorld

from fairlead_cli.plugin import cluster, commands, errors

NAME = "digits"
API = "fairlead.dev/v1alpha1"
STEPS: list[dict[str, Any]] = [{"setWeight": 25}, {"pause": {}}, {"setWeight": 50}, {"pause": {}}]
CANARY = {"strategy": "Canary", "steps": STEPS}


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> WorldCluster:
    """A second revision of a Canary, at rest at 25 %."""
    world = VirtualWorld()
    world.apply(NAME, model={"uri": "file:///m/1", "version": "v1"}, rollout=CANARY, scaling={"replicas": 2})
    world.settle()
    world.change(NAME, "model", {"uri": "file:///m/2", "version": "v2"})
    world.settle()
    made = WorldCluster(world)
    monkeypatch.setattr(cluster, "connect", lambda **place: made)
    return made


def run(*arguments: str, stdin: str | None = None) -> tuple[int, str]:
    result = typer.testing.CliRunner().invoke(commands.app, list(arguments), input=stdin)
    return result.exit_code, result.output


def phase(found: WorldCluster) -> str:
    found.world.settle()
    return str(found.world.models[NAME].status["phase"])


def test_status_shows_revisions_weights_the_step_and_what_it_waits_for(found: WorldCluster) -> None:
    code, output = run("status", NAME)
    assert code == 0
    assert re.search(r"stable +revision 1 \(\w{10}\)  v1  75 %  2/2 replicas", output)
    assert re.search(r"candidate +revision 2 \(\w{10}\)  v2  25 %  2/2 replicas", output)
    assert "step 2 of 4: pause until a person promotes" in output
    assert "until it is promoted" in " ".join(output.split())


def test_status_shows_the_figure_of_each_evaluation_record(found: WorldCluster) -> None:
    output = run("status", NAME)[1]
    assert output.count("evaluation: Accuracy 0.9700 (95 %: 0.9512 to 0.9817, 500 samples)") == 2
    revisions = json.loads(run("status", NAME, "-o", "json")[1])["revisions"]
    assert revisions["stable"]["evaluation"] == {
        **{"outcome": "Read", "metric": "Accuracy", "value": 0.97, "low": 0.9512, "high": 0.9817, "samples": 500}
    }


def test_status_shows_the_stages_of_a_model(found: WorldCluster) -> None:
    assert "stages" not in run("status", NAME)[1]
    found.world.apply(NAME, model={"uri": "file:///m/3"}, optimization={"parallelism": {"stages": 2}})
    found.world.settle()
    assert run("status", NAME)[1].count("stages: 2, each in a replica of its own") == 1
    assert json.loads(run("status", NAME, "-o", "json")[1])["revisions"]["stable"]["stages"] == 2


def test_status_says_how_a_model_scales_and_what_it_waits_for(found: WorldCluster) -> None:
    assert "scaling:" not in run("status", NAME)[1]
    bounds = {"minReplicas": 1, "maxReplicas": 4, "target": {"ongoingRequests": 4}}
    found.world.apply(NAME, model={"uri": "file:///m/3"}, scaling=bounds)
    found.world.settle()
    assert "scaling: 2 replicas; the load decides between 1 and 4." in run("status", NAME)[1]
    assert json.loads(run("status", NAME, "-o", "json")[1])["scaling"]["desiredReplicas"] == 2


def test_status_names_a_drift_that_was_found(found: WorldCluster) -> None:
    assert "drift" not in run("status", "digits")[1]
    stored = found.world.models["digits"]
    drifts = {"type": "DriftDetected", "status": "True", "reason": "InputDrift", "message": "At least 23% of the rows."}
    dated = {**drifts, "lastTransitionTime": stored.status["conditions"][0]["lastTransitionTime"]}
    stored.status = {**stored.status, "conditions": [*stored.status["conditions"], dated]}
    stored.resource_version += 1
    assert "drift: InputDrift: At least 23% of the rows." in run("status", "digits")[1]
    assert json.loads(run("status", "digits", "-o", "json")[1])["drift"]["status"] == "True"


def test_status_as_json_has_the_same_content(found: WorldCluster) -> None:
    as_json = json.loads(run("status", NAME, "-o", "json")[1])
    assert as_json == yaml.safe_load(run("status", NAME, "-o", "yaml")[1])
    assert as_json["revisions"]["candidate"]["weight"] == 25
    assert (as_json["rollout"]["step"], len(as_json["rollout"]["steps"])) == (2, 4)


def test_the_step_as_json_is_the_step_of_the_text(found: WorldCluster) -> None:
    """There is none before the first step and after the last one; the object itself counts from 0."""
    rollout = found.world.models[NAME].status["rollout"]
    assert (rollout["step"], _step()) == (1, 2)
    rollout["step"] = 4
    assert _step() is None
    assert "all steps are done" in run("status", NAME)[1]
    rollout.update(step=0, phase="Proving")
    assert _step() is None
    assert "step 1" not in run("status", NAME)[1]


def _step() -> Any:
    return json.loads(run("status", NAME, "-o", "json")[1])["rollout"]["step"]


def test_status_shows_matches_sticky_and_shadow_only_while_they_apply(found: WorldCluster) -> None:
    match = [{"header": "X-Group", "value": "beta"}]
    found.world.change(NAME, "rollout", {**CANARY, "match": match, "sticky": {"header": "X-User"}})
    canary = run("status", NAME)[1]
    found.world.change(NAME, "rollout", {"strategy": "Shadow", "shadow": {"percent": 10}})
    shadow = run("status", NAME)[1]
    as_data = json.loads(run("status", NAME, "-o", "json")[1])["rollout"]["routing"]
    found.world.ask(NAME, "Abort")
    found.world.pass_model(NAME)

    assert "header x-group=beta selects the candidate" in canary
    assert "header x-user keeps a client on its revision" in canary
    assert "the candidate gets copies of 10 % of the stable revision's requests" in shadow
    assert as_data == {"shadow": 1000}
    assert "copies of" not in run("status", NAME)[1]


def test_a_promote_applies_to_the_step_that_was_read(found: WorldCluster) -> None:
    code, output = run("promote", NAME)
    assert (code, found.asked[-1]["step"]) == (0, 1)
    assert "the pause in step 2 of revision 2" in output
    assert phase(found) == "Paused"


def test_a_full_promote_ends_the_rollout(found: WorldCluster) -> None:
    assert run("promote", NAME, "--full")[0] == 0
    assert phase(found) == "Ready"


def test_pause_stops_the_rollout_and_resume_continues_it(found: WorldCluster) -> None:
    assert " is paused" in run("pause", NAME)[1]
    assert "paused by a person: kubectl fairlead resume" in run("status", NAME)[1]
    code, output = run("pause", NAME)
    assert (code, "is already paused on request" in output) == (1, True)
    assert "continues" in run("resume", NAME)[1]


def test_abort_quarantines_a_revision_and_retry_lifts_the_quarantine(found: WorldCluster) -> None:
    assert run("abort", NAME)[0] == 0
    assert phase(found) == "Degraded"
    assert "quarantine: revision 2" in run("status", NAME)[1]
    assert run("retry", NAME)[0] == 0
    assert phase(found) == "Paused"


def test_rollback_chooses_a_number_or_the_previous_stable_revision(found: WorldCluster) -> None:
    run("promote", NAME, "--full")
    assert phase(found) == "Ready"
    code, output = run("rollback", NAME, "--to", "7")
    assert (code, "revision 7 is not kept" in output) == (1, True)
    assert "revision 1" in run("rollback", NAME)[1].lower()
    assert phase(found) == "Degraded"
    assert re.search(r"stable +revision 1", run("status", NAME)[1])


def test_history_lists_kept_revisions_newest_first(found: WorldCluster) -> None:
    rows = json.loads(run("history", NAME, "-o", "json")[1])
    assert [(row["number"], row["role"], row["version"]) for row in rows] == [
        (2, "candidate", "v2"),
        (1, "stable", "v1"),
    ]
    assert "file:///m/1" in run("history", NAME)[1]


def test_diff_shows_the_differences_of_two_revisions(found: WorldCluster) -> None:
    code, output = run("diff", NAME, "1", "2")
    assert code == 0
    assert "-  uri: file:///m/1" in output
    assert "+  uri: file:///m/2" in output
    assert run("diff", NAME, "1", "1") == (0, "")


def test_plan_says_what_applying_would_do_and_changes_nothing(found: WorldCluster, tmp_path: pathlib.Path) -> None:
    before = found.world.fingerprint()

    def planned(**spec: Any) -> dict[str, Any]:
        base = found.world.models[NAME].spec
        manifest = {"apiVersion": API, "kind": "ModelDeployment", "metadata": {"name": NAME}, "spec": {**base, **spec}}
        file = tmp_path / "model.yaml"
        file.write_text(yaml.safe_dump(manifest))
        return dict(json.loads(run("plan", "-f", str(file), "-o", "json")[1])[0])

    same = planned(scaling={"replicas": 3})
    assert same["newRevision"] is False
    assert same["changes"] == ["spec.scaling.replicas: 2 -> 3"]
    new = planned(model={"uri": "file:///m/3"})
    assert (new["newRevision"], new["replicasAtMost"], len(new["steps"])) == (True, 4, 4)
    assert any("is withdrawn first" in sentence for sentence in new["does"])
    assert new["notes"] == [
        "Surge: 2 more replicas need 1 CPU and 1024 MiB. If Ray has no room for them, the rollout waits.",
        f"Signature: compared with that of {_stable(found)} before any traffic. A breaking change stops the rollout.",
    ]
    scaled = planned(scaling={"minReplicas": 1, "maxReplicas": 5, "target": {"ongoingRequests": 4}})
    assert (scaled["newRevision"], scaled["replicasAtMost"]) == (True, 10)
    assert scaled["notes"][0].startswith("Surge: 2 more replicas")
    options = {"allowSignatureChange": True, "rollbackWindow": {"seconds": 60}, "onInsufficientCapacity": "Recreate"}
    other = planned(model={"uri": "file:///m/3"}, rollout=options)["notes"]
    assert other[0].endswith(f"If Ray has no room for them, {_stable(found)} stops first.")
    assert other[1:] == [
        "Signature: not compared, because spec.rollout.allowSignatureChange is set.",
        f"Afterwards {_stable(found)} stays warm for 60 s.",
    ]
    recreated = planned(model={"uri": "file:///m/3"}, rollout={"strategy": "Recreate"})["notes"]
    assert "stops first. Requests get 503" in recreated[0]
    assert "not compared" in recreated[1]
    moved = planned(cluster={"class": "large"})
    assert (moved["newRevision"], moved["revision"], len(moved["steps"])) == (True, None, 4)
    assert moved["does"][0].startswith(
        "spec.cluster changes. If that is another Ray cluster, a new revision is rolled out"
    )
    plan = planned(model={"uri": "file:///m/1", "version": "v1"})
    assert plan["does"][0].startswith("No new revision: revision 1")
    assert found.world.fingerprint() == before


def _stable(found: WorldCluster) -> str:
    return f"revision 1 ({found.world.models[NAME].status['stableRevision']})"


def test_plan_describes_a_shadow_rollout(found: WorldCluster) -> None:
    spec = {"model": {"uri": "file:///m/4"}, "rollout": {"strategy": "Shadow", "shadow": {"percent": 5}}}
    manifest = {"apiVersion": API, "kind": "ModelDeployment", "metadata": {"name": NAME}, "spec": spec}
    planned = json.loads(run("plan", "-f", "-", "-o", "json", stdin=yaml.safe_dump(manifest))[1])[0]

    assert planned["steps"] == ["pause until a person promotes"]
    assert "During the rollout: the candidate gets copies of 5 % of the stable revision's requests." in planned["does"]


def test_plan_reads_standard_input_and_describes_a_new_model(found: WorldCluster) -> None:
    manifest = {
        "apiVersion": API,
        "kind": "ModelDeployment",
        "metadata": {"name": "new"},
        "spec": {"model": {"uri": "file:///m/1"}},
    }
    code, output = run("plan", "-f", "-", stdin=yaml.safe_dump(manifest))
    assert code == 0
    assert "Its first revision takes all traffic" in output


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("status", "none"), "There is no ModelDeployment none in namespace default."),
        (("promote", "none"), "There is no ModelDeployment none in namespace default."),
        (("diff", NAME, "1", "9"), "has no revision 9; kept revisions: 1, 2."),
        (("retry", NAME), "is not in quarantine."),
        (("plan", "-f", "/nowhere.yaml"), "The manifest can't be read"),
    ],
)
def test_a_mistake_is_one_line_and_exit_status_1(
    found: WorldCluster, arguments: tuple[str, ...], expected: str
) -> None:
    code, output = run(*arguments)
    assert code == 1
    assert expected in output
    assert output.count("\n") == 1


@pytest.mark.parametrize("verb", ["promote", "pause", "resume", "abort"])
def test_without_a_candidate_no_request_is_written(found: WorldCluster, verb: str) -> None:
    run("abort", NAME)
    found.world.settle()
    asked = len(found.asked)
    code, output = run(verb, NAME)
    assert (code, len(found.asked)) == (1, asked)
    assert "has no candidate: revision 1" in output


def test_a_forbidden_request_names_the_missing_role(found: WorldCluster) -> None:
    found.forbidden = True
    assert run("abort", NAME)[0] == 1


def test_after_a_conflict_the_request_is_built_from_the_current_status(found: WorldCluster) -> None:
    found.conflicts = 2
    assert run("promote", NAME)[0] == 0
    assert len(found.asked) == 1


def test_no_other_request_replaces_a_pending_abort(found: WorldCluster) -> None:
    found.world.ask(NAME, "Abort")
    code, output = run("promote", NAME)
    assert (code, found.asked) == (1, [])
    assert "not carried out yet" in output


def test_a_request_without_an_answer_fails_and_stays(found: WorldCluster) -> None:
    found.passes = 0
    code, output = run("abort", NAME, "--timeout", "0")
    assert code == 1
    assert "not carried out yet: the operator did not answer within 0 s" in output
    assert f"kubectl fairlead status {NAME} -n default" in output
    assert found.asked[-1]["verb"] == "Abort"


@pytest.mark.parametrize("verb", ["promote", "pause", "resume", "abort", "rollback"])
def test_without_a_wait_a_verb_returns_at_once(found: WorldCluster, verb: str) -> None:
    found.passes = 0
    code, output = run(verb, NAME, "--wait=false")
    assert (code, len(found.asked)) == (0, 1)
    assert " is requested; follow it with: kubectl fairlead status digits -n default" in output
    assert "handledRequest" not in found.world.models[NAME].status


def test_a_timeout_without_a_wait_is_refused(found: WorldCluster) -> None:
    code, output = run("abort", NAME, "--wait=false", "--timeout", "3")
    assert (code, found.asked) == (1, [])
    assert "--timeout has no effect with --wait=false" in output


def test_another_value_of_wait_is_refused_and_writes_nothing(found: WorldCluster) -> None:
    assert run("abort", NAME, "--wait=no") == (1, "--wait must be true or false, not no.\n")
    assert found.asked == []


def test_a_missing_kubeconfig_is_reported_in_one_line(tmp_path: pathlib.Path) -> None:
    with pytest.raises(errors.PluginError, match="The kubeconfig can't be used"):
        cluster.KubernetesCluster(namespace=None, context=None, kubeconfig=tmp_path / "none")


def test_an_abort_is_written_although_others_write_at_the_same_time(found: WorldCluster) -> None:
    found.conflicts = 10**6
    assert run("abort", NAME)[0] == 0


def test_status_shows_what_the_analysis_measured(found: WorldCluster) -> None:
    world = found.world
    analysis = {"metrics": [{"name": "errors", "errorRatio": {}}], "intervalSeconds": 2, "count": 1000}
    steps = [{"setWeight": 25}, {"analysis": {}}]
    world.change(NAME, "rollout", {"strategy": "Canary", "steps": steps, "analysis": analysis})
    world.change(NAME, "model", {"uri": "file:///m/3", "version": "v3"})
    world.load = 8
    for _ in range(40):
        world.pass_model(NAME)
        world.pass_ray()
        world.tick()
    output = run("status", NAME)[1]
    assert re.search(r"step 2 of 2: analysis", output)
    assert re.search(r"analysis Running: \d+ measurements", output)
    assert re.search(r"\? errors: failed requests: candidate 0 % of \d+", output)
    data = json.loads(run("status", NAME, "-o", "json")[1])["rollout"]["analysis"]
    assert (data["phase"], data["metrics"][0]["phase"]) == ("Running", "Inconclusive")
