"""The chapters of ``make demo``, in order. Each shows one thing on real parts and fails if it does not hold."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import yaml

from fairlead_cli import load
from fairlead_cli.demo import asking, breaking, canary, headlines, narration, scene, training, watching
from fairlead_cli.local import cluster

FIRST_FAMILIES = ("dense", "cnn")
# Its training takes longer than that of the others together, so it goes on beside the chapters that do not need it.
LATER_FAMILY = "lstm"
WORSE = training.Lesson(
    families=("dense",),
    version="v4",
    arguments=("--optimizer", "sgd", "--learning-rate", "0.01", "--epochs", "1"),
)
# A list for each process, in the order in which the chapters need them.
LESSONS = (
    (
        training.Lesson(families=("dense", "cnn"), version="v1"),
        training.Lesson(families=("dense",), version="v2", arguments=("--optimizer", "rmsprop", "--seed", "7")),
        WORSE,
    ),
    # It has learned most of what it learns in ten, at a third of the time that this chapter takes.
    (training.Lesson(families=("lstm",), version="v1", arguments=("--epochs", "4")),),
)
CHAPTERS = 10
# Requests a second: as fast as answers come they would take a whole processor from what the chapter shows.
_LOAD_RATE = 600.0
_LOAD_ROWS = 32
_HELD_OUT_ASKED = 200
# The stored labels are of samples that the model never saw; answers over HTTP must score as the training record does.
_SCORE_TOLERANCE = 0.08


class Story:
    """What the chapters share."""

    model = "dense"

    def __init__(self, local: cluster.LocalCluster, narrator: narration.Narrator, folder: pathlib.Path) -> None:
        self._local = local
        self._narrator = narrator
        self._folder = folder
        self._scene = scene.Scene(local, narrator)
        self._trained: dict[str, training.Trained] = {}

    def run(self) -> None:
        """Everything, in order.

        Raises:
            DemoFailed: a chapter did not show what it should.
            LocalClusterError: the cluster did not come up.
        """
        lessons = training.Training(self._folder / "models", LESSONS)
        try:
            self._start()
            self._apply(lessons)
            self._predict()
            self._canary_under_load()
            self._refuse_a_broken_version()
            self._take_a_worse_version_back(lessons)
            self._go_back()
            self._serve_the_later_model(lessons)
            self._show()
        finally:
            lessons.stop()

    # --- chapters ------------------------------------------------------------------------------------------------

    def _start(self) -> None:
        narrator = self._narrator
        narrator.chapter("Train three models and start a local cluster")
        self._local.up()
        version = json.loads(self._scene.kubectl("version", "-o", "json"))["serverVersion"]["gitVersion"]
        narrator.proved(f"a real Kubernetes API ({version}), Ray, gateway and operator run on loopback")

    def _apply(self, lessons: training.Training) -> None:
        narrator = self._narrator
        narrator.chapter("kubectl apply two models as soon as they are trained; the third one goes on learning")
        for family in FIRST_FAMILIES:
            self._apply_trained(lessons, family)
        self._trained["dense v2"] = lessons.wait(narrator, "dense", "v2")
        for family in FIRST_FAMILIES:
            self._await_ready(family)
        narrator.proved(
            "two models, judged on samples that they never saw, are Ready: each passed its proof before it got traffic"
        )

    def _predict(self) -> None:
        narrator = self._narrator
        narrator.chapter("Ask the gateway for predictions of held-out samples")
        self._ask(*FIRST_FAMILIES)
        narrator.proved("the answers over HTTP are as good as the models' training records say")

    def _ask(self, *families: str) -> None:
        narrator, asker = self._narrator, asking.Asker(self._local.gateway_url)
        try:
            for family in families:
                trained = self._trained[family]
                heldout = asking.Heldout.load(trained.heldout)
                v2 = asker.score_with_open_inference(family, heldout, most=_HELD_OUT_ASKED)
                v1 = asker.score_with_tensorflow_serving(family, heldout, most=20)
                narrator.step(
                    f"{family}: {v2.right} of {v2.asked} right by Open Inference Protocol,"
                    f" {v1.right} of {v1.asked} by TensorFlow Serving's; its record says {trained.accuracy:.1%}"
                )
                if abs(v2.accuracy - trained.accuracy) > _SCORE_TOLERANCE:
                    raise narration.DemoFailed(f"{family} answers {v2.accuracy:.1%} right, not {trained.accuracy:.1%}")
        finally:
            asker.close()

    def _canary_under_load(self) -> None:
        narrator = self._narrator
        narrator.chapter("Version 2 of dense as a canary: a quarter of the load, judged by errors and true labels")
        before = self._stable("dense")
        labelled: Mapping[str, int] = {}

        def roll_out() -> Mapping[str, Any]:
            nonlocal labelled
            self._apply_as_canary(self._trained["dense v2"])
            done, labelled = self._wait_for_verdict(
                "at version 2",
                lambda seen: watching.is_settled(seen) and watching.stable_revision(seen) != before,
            )
            return done

        done, report = scene.count_while(self._load_settings(), roll_out, "the rollout", afterwards=500)
        narrator.proved(
            f"promoted without a person after {labelled.get(watching.stable_revision(done), 0):,} of its predictions"
            f" got a true label; {scene.describe(report)}"
        )

    def _take_a_worse_version_back(self, lessons: training.Training) -> None:
        narrator = self._narrator
        narrator.chapter("Version 4 answers without errors, but is wrong more often")
        worse = lessons.wait(narrator, "dense", WORSE.version)
        before = self._stable("dense")
        with load.background(self._load_settings()) as run:
            run.wait_until(lambda seen: seen.requests > 100, timeout_s=60)
            self._apply_as_canary(worse)
            found, labelled = self._wait_for_verdict("taken back", lambda seen: _is_refused(seen, "AnalysisFailed"))
            report = run.stop()
        scene.require_no_failures(report, "the worse version")
        quarantined = found["status"]["quarantine"][-1]
        if self._stable("dense") != before:
            raise narration.DemoFailed(f"{before} is no longer the stable revision")
        narrator.step(quarantined["message"])
        narrator.proved(
            f"withdrawn without a person after {labelled.get(quarantined['revision'], 0):,} of its predictions got a"
            f" true label; {report.failed} failed of {report.requests:,} requests"
        )

    def _refuse_a_broken_version(self) -> None:
        narrator = self._narrator
        narrator.chapter("Apply a broken version 3: one byte of the model was changed")
        before = self._stable("dense")
        manifest = breaking.write_tampered(self._trained["dense v2"], self._folder / "models" / "dense" / "v3")
        with load.background(self._load_settings()) as run:
            run.wait_until(lambda seen: seen.requests > 100, timeout_s=60)
            self._scene.kubectl("apply", "-f", str(manifest))
            found = self._scene.model("dense").until(
                "refused", lambda seen: _is_refused(seen, "DigestMismatch"), within_s=watching.READY_WITHIN_S
            )
            report = run.stop()
        scene.require_no_failures(report, "the broken version")
        if set(report.revisions) != {before}:
            raise narration.DemoFailed(f"answers came from {sorted(report.revisions)}, not from {before} alone")
        narrator.step(f"quarantined: {found['status']['quarantine'][-1]['message']}")
        narrator.proved(
            f"it never got traffic, and the old version kept serving: 0 failed of {report.requests:,} requests"
        )

    def _go_back(self) -> None:
        narrator = self._narrator
        narrator.chapter("Go back: apply the manifest of version 1 again")
        self._scene.kubectl("apply", "-f", str(self._trained["dense"].manifest))
        restored = self._scene.model("dense").until(
            "back at version 1",
            lambda seen: watching.is_settled(seen) and _stable_version(seen) == "v1",
            within_s=watching.READY_WITHIN_S,
        )
        stable = restored["status"]["stableRevision"]
        number = next(each["number"] for each in restored["status"]["revisions"] if each["name"] == stable)
        if number != 1:
            raise narration.DemoFailed(f"version 1 got the revision number {number} instead of its old one")
        narrator.proved(f"revision {stable} (number 1) is in use again; no new revision was made")

    def _serve_the_later_model(self, lessons: training.Training) -> None:
        narrator = self._narrator
        narrator.chapter(f"Serve the third model, {LATER_FAMILY}, which was trained meanwhile")
        self._apply_trained(lessons, LATER_FAMILY)
        self._await_ready(LATER_FAMILY)
        self._ask(LATER_FAMILY)
        narrator.proved("its answers, too, are as good as its training record says")

    def _show(self) -> None:
        narrator = self._narrator
        narrator.chapter("What the platform engineer sees")
        narrator.show(self._scene.kubectl("get", "mdep"))
        narrator.show(
            self._scene.kubectl(
                "get",
                "events",
                "--sort-by=.lastTimestamp",
                "--no-headers",
                "--field-selector=involvedObject.name=dense",
            )
        )
        for line in (
            *headlines.read_gateway(self._local.gateway_admin_url),
            *headlines.read_operator(self._local.operator_url),
        ):
            narrator.step(line)
        narrator.proved("kubectl, events and Prometheus metrics agree")

    # --- shared --------------------------------------------------------------------------------------------------

    def _apply_trained(self, lessons: training.Training, family: str) -> None:
        self._trained[family] = lessons.wait(self._narrator, family, "v1")
        self._narrator.step(self._scene.kubectl("apply", "-f", str(self._trained[family].manifest)).strip())

    def _await_ready(self, family: str) -> None:
        self._scene.model(family).until("ready", watching.is_settled, within_s=watching.READY_WITHIN_S)
        self._narrator.step(f"{family} is Ready")

    def _apply_as_canary(self, trained: training.Trained) -> None:
        manifest = yaml.safe_load(trained.manifest.read_text())
        manifest["spec"]["rollout"] = canary.SPEC
        self._scene.apply(manifest, trained.folder / "canary.yaml")

    def _wait_for_verdict(
        self, what: str, holds: Callable[[Mapping[str, Any]], bool]
    ) -> tuple[Mapping[str, Any], Mapping[str, int]]:
        labelled = asking.Heldout.load(self._trained["dense"].heldout)
        return canary.wait_for_verdict(self._scene.model("dense"), self._local.gateway_url, labelled, what, holds)

    def _stable(self, name: str) -> str:
        return watching.stable_revision(self._scene.model(name).read())

    def _load_settings(self) -> load.Settings:
        rows = asking.Heldout.load(self._trained["dense"].heldout).inputs[:_LOAD_ROWS]
        return self._scene.load_settings("dense", rows, rate=_LOAD_RATE)


def _is_refused(found: Mapping[str, Any], reason: str) -> bool:
    settled = watching.condition(found, "Reconciling").get("status") != "True"
    observed = found["status"].get("observedGeneration") == found["metadata"]["generation"]
    reasons = [entry["reason"] for entry in found["status"].get("quarantine", ())]
    return bool(observed and settled and reasons[-1:] == [reason])


def _stable_version(found: Mapping[str, Any]) -> str:
    stable = found["status"].get("stableRevision")
    return next((each.get("version", "") for each in found["status"]["revisions"] if each["name"] == stable), "")
