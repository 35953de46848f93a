"""The chapters of ``fairlead demo --life``: one model from its training to a move, and to the end of everything.

Each chapter shows one thing on real parts, with its figures, and fails if it does not hold.
"""

from __future__ import annotations

import contextlib
import itertools
import pathlib
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from fairlead_cli import load
from fairlead_cli.demo import (
    asking,
    canary,
    changed_inputs,
    explanations,
    headlines,
    narration,
    packages,
    sampled_rows,
    scene,
    training,
    variants,
    watching,
)
from fairlead_cli.local import cluster, options, ray_node
from fairlead_runtime.config import Optimization, OptimizeFor

CHAPTERS = 10
SECOND = "second"
"""The serving class of the second Ray cluster."""
NAME, EXPLAINED = "digits", "digits-tensorflow"
_FAMILY = "cnn"
_CACHE = "cache"
_FIRST = training.Lesson(families=(_FAMILY,), version="v1")
_BOUNDS = Optimization(optimize_for=OptimizeFor.SIZE)
_SERVED = {"serving": {"engine": "ONNXRuntime"}, "optimization": {"optimizeFor": _BOUNDS.optimize_for.value}}
_READY_WITHIN_S = 400.0
"""With the time in which a node makes the variants of a model."""
_ORDINARY_REQUESTS = 300
_CHANGED_REQUESTS_MOST = 4000
_REQUESTS_A_LOOK = 25
_SEED = 0
_LOAD_RATE = 200.0
_LOAD_ROWS = 256
_AFTERWARDS = 500
"""Requests that the counting client sends after a rollout."""


def choose_options(folder: pathlib.Path) -> options.Options:
    """Of the local cluster: two Ray clusters, and a cache of models that holds nothing of an earlier run."""
    return options.Options(second_class=SECOND, second_cpus=4, models_cache=folder / _CACHE)


class Life:
    """What the chapters share."""

    model = NAME

    def __init__(
        self, local: cluster.LocalCluster, narrator: narration.Narrator, folder: pathlib.Path, out: pathlib.Path
    ) -> None:
        """`folder` is for models and manifests, `out` for the pictures."""
        self._local = local
        self._narrator = narrator
        self._scene = scene.Scene(local, narrator)
        self._models = folder / "models"
        self._cache = folder / _CACHE
        self._out = out

    def run(self) -> None:
        """Everything, in order.

        Raises:
            DemoFailed: a chapter did not show what it should.
            LocalClusterError: the cluster did not come up.
        """
        try:
            self._out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise narration.DemoFailed(f"--out {self._out}: {error.strerror}") from error
        first = self._train()
        packaged = self._package(first)
        self._deploy(packaged)
        ordinary = asking.Heldout.load(first.heldout)
        mixed = changed_inputs.shuffle(changed_inputs.mix(ordinary), _SEED)
        self._ask_as_trained(ordinary)
        self._ask_until_drift(ordinary, mixed)
        self._explain(packaged, ordinary)
        renewed = self._retrain(first)
        self._roll_out(renewed, ordinary, mixed)
        self._move(renewed, mixed)

    # --- chapters ------------------------------------------------------------------------------------------------

    def _train(self) -> training.Trained:
        narrator = self._narrator
        narrator.chapter("Train a network on handwritten digits, and start two Ray clusters")
        lessons = training.Training(self._models, [[_FIRST]])
        try:
            self._local.up()
            trained = lessons.wait(narrator, _FAMILY, _FIRST.version)
        finally:
            lessons.stop()
        narrator.proved("version 1 is trained (seed 0), and Kubernetes API, operator, gateway and Ray run")
        return trained

    def _package(self, trained: training.Trained) -> packages.Packaged:
        narrator = self._narrator
        narrator.chapter("fairlead package: one archive with all that a rollout asks for")
        packaged = packages.package(trained, NAME)
        self._show_package(packaged)
        narrator.proved(packaged.figure)
        return packaged

    def _deploy(self, packaged: packages.Packaged) -> None:
        narrator = self._narrator
        narrator.chapter("Deploy it: a variant of the model is to be chosen, and the record is required")
        found = self._apply(packages.compose(packaged, "v1", **_SERVED), "v1", "ready")
        serving, table = variants.describe(variants.read_only(self._cache), _BOUNDS)
        narrator.show(table)
        row = watching.stable_row(found)
        if row["variant"]["name"] != serving:
            raise narration.DemoFailed(f"{row['variant']['name']} serves, and {serving} is the best one")
        narrator.step(f"status: {row['variant']['name']} ({row['variant']['reason']})")
        narrator.proved(
            f"{serving} serves; the record shows an accuracy of at least {row['evaluation']['low']:.3f},"
            f" and {packages.LEAST_ACCURACY} is required"
        )

    def _ask_as_trained(self, ordinary: asking.Heldout) -> None:
        narrator = self._narrator
        narrator.chapter("Ordinary requests: held-out images as they are")
        self._send(ordinary.inputs[:_ORDINARY_REQUESTS])
        features = self._read_features()
        narrator.show(sampled_rows.describe(features))
        worst = sampled_rows.find_worst(features)
        if sampled_rows.is_drift(worst):
            raise narration.DemoFailed(f"ordinary requests count as drift: {worst.name} {worst.proved:+.3f}")
        narrator.proved(f"{_ORDINARY_REQUESTS} requests, no drift: the most that is proved is {worst.proved:+.3f}")

    def _ask_until_drift(self, ordinary: asking.Heldout, mixed: asking.Heldout) -> None:
        narrator = self._narrator
        narrator.chapter(f"Every second image comes brighter by {changed_inputs.BRIGHTER}, until drift is found")
        began = time.monotonic()
        sent, features = self._send_until_drift(mixed.inputs)
        took_s = time.monotonic() - began
        narrator.show(sampled_rows.describe(features))
        narrator.step(
            f"read from the series of the replica at {self._directory_url()}/metrics, with the formulas of the chart's"
            " rules: no Prometheus runs here, so no alert fires and the status has no condition DriftDetected"
        )
        narrator.step(
            "with Prometheus and these rules the alert FairleadInputDrift fires once this lasts for 75 minutes"
        )
        worst = sampled_rows.find_worst(features)
        self._compare_accuracy(ordinary)
        narrator.proved(
            f"drift of {worst.name} after {sent} such requests in {took_s:.1f} s (the {_ORDINARY_REQUESTS} before them"
            f" count too): at least {worst.proved:.1%} of the rows lie in other bins than the training data"
        )

    def _explain(self, packaged: packages.Packaged, ordinary: asking.Heldout) -> None:
        narrator = self._narrator
        narrator.chapter("Explain an answer that became wrong")
        rows, names = self._choose_changed_answer(ordinary)
        self._apply(packages.compose(packaged, "v1"), "tensorflow", "ready", name=EXPLAINED)
        with contextlib.closing(asking.Asker(self._local.gateway_url)) as asker:
            body = asker.body(NAME, rows)
        served, whole = (explanations.ask(self._local.gateway_url, name, body) for name in (NAME, EXPLAINED))
        for name, found in ((NAME, served), (EXPLAINED, whole)):
            path = self._out / f"explanation-{found.method.replace('_', '-')}.png"
            path.write_bytes(found.picture)
            narrator.step(f"{name}: {found.method}, {found.steps} steps; heat maps: {path}")
        narrator.show(explanations.describe(names, whole.rows))
        if not all(each.is_complete for each in whole.rows):
            raise narration.DemoFailed("the attributions do not add up to the difference of the scores")
        self._scene.kubectl("delete", "mdep", EXPLAINED)
        narrator.proved(
            "the attributions on TensorFlow add up to the scores; the variant that serves has no gradients, so it is"
            f" explained by {served.method}, which has no such sum"
        )

    def _retrain(self, first: training.Trained) -> packages.Packaged:
        narrator = self._narrator
        narrator.chapter("Train version 2 on ordinary and brighter images, and package it")
        data = self._models / "ordinary-and-brighter.npz"
        count = changed_inputs.write_training_data(first, data)
        narrator.step(f"{data}: {count:,} images to learn from, one half brighter")
        lesson = training.Lesson(families=(_FAMILY,), version="v2", arguments=("--data", str(data)))
        lessons = training.Training(self._models, [[lesson]])
        try:
            trained = lessons.wait(narrator, _FAMILY, lesson.version)
        finally:
            lessons.stop()
        packaged = packages.package(trained, NAME)
        self._show_package(packaged)
        narrator.proved(f"on both kinds of images: {packaged.figure}")
        return packaged

    def _roll_out(self, renewed: packages.Packaged, ordinary: asking.Heldout, mixed: asking.Heldout) -> None:
        narrator = self._narrator
        narrator.chapter("Version 2 as a canary: a quarter of the load, judged by errors and true labels")
        manifest = packages.compose(renewed, "v2", **_SERVED, rollout=canary.SPEC)
        before = watching.stable_revision(self._scene.model(NAME).read())
        labelled: Mapping[str, int] = {}

        def roll_out() -> Mapping[str, Any]:
            nonlocal labelled
            narrator.step(self._scene.apply(manifest, self._models / "v2.yaml"))
            found, labelled = canary.wait_for_verdict(
                self._scene.model(NAME),
                self._local.gateway_url,
                mixed,
                "at version 2",
                lambda seen: watching.is_settled(seen) and watching.stable_revision(seen) != before,
                within_s=_READY_WITHIN_S,
            )
            return found

        found, report = self._count_while(mixed, roll_out, "the canary rollout")
        features = self._read_features()
        narrator.show(sampled_rows.describe(features))
        worst = sampled_rows.find_worst(features)
        if sampled_rows.is_drift(worst):
            raise narration.DemoFailed(f"version 2 has drift of what it was trained on: {worst.name}")
        row = watching.stable_row(found)
        narrator.step(f"{row['variant']['name']} serves version 2; the same requests are no drift to it")
        self._compare_accuracy(ordinary)
        narrator.proved(
            f"promoted after {labelled.get(row['name'], 0):,} of its predictions got a true label;"
            f" {scene.describe(report)}"
        )

    def _move(self, renewed: packages.Packaged, mixed: asking.Heldout) -> None:
        narrator = self._narrator
        narrator.chapter(f"Move it to the second Ray cluster: spec.cluster.class is {SECOND!r}")
        manifest = packages.compose(renewed, "v2", **_SERVED, cluster={"class": SECOND})
        before = watching.stable_revision(self._scene.model(NAME).read())

        def move() -> Mapping[str, Any]:
            return self._apply(manifest, "second", "moved", holds=lambda seen: watching.stable_revision(seen) != before)

        found, report = self._count_while(mixed, move, "the move")
        row = watching.stable_row(found)
        if row.get("cluster") != SECOND:
            raise narration.DemoFailed(f"the stable revision runs on {row.get('cluster')!r}, not on {SECOND!r}")
        narrator.show(self._scene.kubectl("get", "mdep", "-o", "wide"))
        for line in headlines.read_gateway(self._local.gateway_admin_url):
            narrator.step(line)
        narrator.proved(f"{row['variant']['name']} serves on {SECOND!r}; {scene.describe(report)}")

    # --- shared --------------------------------------------------------------------------------------------------

    def _apply(
        self,
        manifest: Mapping[str, Any],
        label: str,
        what: str,
        *,
        name: str = NAME,
        holds: Callable[[Mapping[str, Any]], bool] = lambda seen: True,
    ) -> Mapping[str, Any]:
        """The object once it is settled and ``holds`` is true of it."""
        named = {**manifest, "metadata": {"name": name}}
        self._narrator.step(self._scene.apply(named, self._models / f"{label}.yaml"))
        return self._scene.model(name).until(
            what, lambda seen: watching.is_settled(seen) and holds(seen), within_s=_READY_WITHIN_S
        )

    def _count_while(
        self, mixed: asking.Heldout, change: Callable[[], Mapping[str, Any]], event_name: str
    ) -> tuple[Mapping[str, Any], load.Report]:
        settings = self._scene.load_settings(NAME, mixed.inputs[:_LOAD_ROWS], rate=_LOAD_RATE)
        return scene.count_while(settings, change, event_name, afterwards=_AFTERWARDS)

    def _show_package(self, packaged: packages.Packaged) -> None:
        self._narrator.step(f"{packaged.archive.name}: {', '.join(packaged.parts)}")

    def _send(self, rows: npt.NDArray[np.generic]) -> None:
        with contextlib.closing(asking.Asker(self._local.gateway_url)) as asker:
            for body in asker.single_bodies(NAME, rows):
                asker.send(NAME, body)

    def _send_until_drift(self, rows: npt.NDArray[np.generic]) -> tuple[int, list[sampled_rows.Feature]]:
        """The number of requests after which the inputs drift, and the features then."""
        with contextlib.closing(asking.Asker(self._local.gateway_url)) as asker:
            bodies = itertools.cycle(asker.single_bodies(NAME, rows))
            for sent in range(_REQUESTS_A_LOOK, _CHANGED_REQUESTS_MOST + 1, _REQUESTS_A_LOOK):
                for body in itertools.islice(bodies, _REQUESTS_A_LOOK):
                    asker.send(NAME, body)
                features = self._read_features()
                if sampled_rows.is_drift(sampled_rows.find_worst(features)):
                    return sent, features
        self._narrator.show(sampled_rows.describe(features))
        raise narration.DemoFailed(f"no drift was found in {_CHANGED_REQUESTS_MOST:,} requests")

    def _read_features(self) -> list[sampled_rows.Feature]:
        """What the replicas of the stable revision have sampled since they started."""
        revision = watching.stable_revision(self._scene.model(NAME).read())
        features = sampled_rows.collect(headlines.read_samples(self._directory_url()), model=NAME, revision=revision)
        if not any(each.is_of_inputs for each in features):
            raise narration.DemoFailed(f"the replicas of {revision} compare no inputs with reference statistics")
        return features

    def _directory_url(self) -> str:
        """Where a Ray node has the series of all its replicas, in the directory that the gateway reads."""
        head = ray_node.HEAD
        return f"http://{head.host}:{self._local.ports[head.directory]}"

    def _compare_accuracy(self, ordinary: asking.Heldout) -> None:
        brighter = asking.Heldout(inputs=changed_inputs.brighten(ordinary.inputs), labels=ordinary.labels)
        with contextlib.closing(asking.Asker(self._local.gateway_url)) as asker:
            for what, heldout in (("as they are", ordinary), ("brighter", brighter)):
                score = asker.score_with_open_inference(NAME, heldout, most=len(heldout.labels))
                self._narrator.step(f"images {what}: {score.right} of {score.asked} right ({score.accuracy:.1%})")

    def _choose_changed_answer(self, ordinary: asking.Heldout) -> tuple[npt.NDArray[np.generic], tuple[str, str]]:
        """An image as it is and brighter, and what to call them."""
        brighter = changed_inputs.brighten(ordinary.inputs)
        with contextlib.closing(asking.Asker(self._local.gateway_url)) as asker:
            before, after = (
                np.concatenate([asker.classes(NAME, part) for part in np.array_split(images, 20)])
                for images in (ordinary.inputs, brighter)
            )
            black = int(asker.classes(NAME, np.zeros_like(ordinary.inputs[:1]))[0])
        index = changed_inputs.find_changed_answer(ordinary.labels, before, after, unlike=black)
        if index is None:
            raise narration.DemoFailed("no image is classified right as it is and wrong when it is brighter")
        self._narrator.step(
            f"held-out image {index} is a {ordinary.labels[index]}: as it is, the answer is {before[index]};"
            f" brighter, it is {after[index]}"
        )
        rows: npt.NDArray[np.generic] = np.stack([ordinary.inputs[index], brighter[index]])
        return rows, ("as it is", "brighter")
