"""The pass over a Ray cluster: when it writes, and what."""

from __future__ import annotations

import dataclasses
import json
from types import SimpleNamespace
from typing import Any

import pytest
from tests.support import builders
from tests.support.hand_clock import HandClock

from fairlead_operator import composition, ray_pass, telemetry
from fairlead_operator.clients import errors
from fairlead_operator.clients import ray_serve as client
from fairlead_operator.desired import serve_config
from fairlead_operator.observe import ray_serve, readers, source
from fairlead_operator.state import keys, serve

REV = builders.revision()
KEY = keys.RayKey(builders.NAMESPACE, "default")
GOOD_REV = dataclasses.replace(REV, application={**REV.application, "name": f"default--good--{REV.revision}"})
GOOD = builders.model_deployment(name="good", uid="u-good", status={"stableRevision": REV.revision})
RUNNING = builders.application(f"default--broken--{REV.revision}", {"name": f"default--broken--{REV.revision}"})
GOOD_PART = serve_config.of_model(KEY, serve_config.KeptModel(view=GOOD, revisions=(GOOD_REV,)))


class Place:
    """One Ray cluster as a pass meets it."""

    parse_s = 0.0

    def __init__(self) -> None:
        self.puts: list[Any] = []
        self.applications = {RUNNING.name: RUNNING}
        self.error: errors.FairleadError | None = None
        self.is_empty = False
        self.answer_s = 0.0
        self.parked: list[keys.Key] = []
        self.held: list[keys.Key] = []
        self.clock = HandClock()
        self.poller = ray_serve.RayPoller(self, readers.Readers(clock=self.clock), builders.NAMESPACE)  # type: ignore[arg-type]  # its capacity is not read
        self.composed = composition.Composition()
        world = SimpleNamespace(hash_ray=lambda _: b"")
        parts: dict[str, Any] = {
            "namespaces": lambda _: SimpleNamespace(placements={"default"}, world=lambda: world),
            "clusters": SimpleNamespace(find=lambda _: SimpleNamespace(poller=self.poller, client=self)),
            "composed": self.composed,
            "waits": SimpleNamespace(park=self.parked.append, hold=lambda key, _: self.held.append(key)),
        }
        self.ray_pass = ray_pass.RayPass(**parts, bounds=builders.BOUNDS, metrics=telemetry.Metrics())

    async def fetch_instance(self) -> client.Instance:
        self.clock.seconds += self.answer_s
        if self.is_empty:
            return client.Instance(controller_id=None, applications={})
        return client.Instance(controller_id="c", applications=dict(self.applications))

    async def fetch_session(self) -> str:
        return "s"

    async def put_applications(self, body: bytes) -> None:
        if self.error is not None:
            raise self.error
        self.puts.append(json.loads(body))

    async def run(self) -> None:
        """One pass, and the one after the answer that it asked for."""
        await self.ray_pass.run(KEY)
        await self.poller.read_once()
        await self.ray_pass.run(KEY)

    def complete(self) -> None:
        self.composed.put(keys.ModelKey(builders.NAMESPACE, "good"), {"default": GOOD_PART})
        self.composed.put(keys.ModelKey(builders.NAMESPACE, "broken"), None)
        self.composed.note_listed(None)


@pytest.mark.parametrize("answer_s", [0.1, 1.5, 9.0])
async def test_a_ray_that_answers_slowly_gets_its_configuration(answer_s: float) -> None:
    """Each answer of a busy Ray was too old when it came, so another one was asked for, and nothing was ever put."""
    place = Place()
    place.complete()
    place.answer_s = answer_s
    for _ in range(3):
        await place.run()
    assert len(place.puts) == 1


async def test_an_answer_that_is_still_awaited_after_some_seconds_counts_when_it_comes() -> None:
    place = Place()
    place.complete()
    await place.run()
    assert place.puts == [], "it was asked once more, for the PUT"
    place.clock.seconds += source.PENDING_MAX_S + 1
    await place.ray_pass.run(KEY)
    assert place.puts == [], "nothing is known for the moment"
    place.answer_s = 8.0
    await place.poller.read_once()
    await place.ray_pass.run(KEY)
    assert len(place.puts) == 1


async def test_applications_of_an_unreadable_model_keep_running_while_others_change() -> None:
    place = Place()
    place.complete()
    await place.poller.read_once()
    await place.run()
    (body,) = place.puts
    assert {each["name"] for each in body["applications"]} == {RUNNING.name, f"default--good--{REV.revision}"}
    assert place.poller.last_write is not None
    assert place.poller.last_write.kind is serve.RayWriteKind.PUT


async def test_nothing_is_written_before_every_listed_model_had_a_pass() -> None:
    place = Place()
    await place.poller.read_once()
    place.composed.expect(keys.ModelKey(builders.NAMESPACE, "good"))
    place.composed.expect(keys.ModelKey(builders.NAMESPACE, "slow"))
    place.complete()
    await place.ray_pass.run(KEY)
    assert (place.puts, place.parked) == ([], [KEY])
    place.composed.note_unknown(keys.ModelKey(builders.NAMESPACE, "slow"))
    await place.run()
    assert len(place.puts) == 1


async def test_an_application_that_appeared_since_the_last_read_is_not_removed() -> None:
    place = Place()
    place.complete()
    await place.poller.read_once()
    foreign = builders.application("someone", {"name": "someone"})
    place.applications["someone"] = foreign
    await place.run()
    (body,) = place.puts
    assert "someone" in {each["name"] for each in body["applications"]}


async def test_a_cluster_that_is_gone_loses_the_series_of_its_last_put() -> None:
    place = Place()
    place.complete()
    await place.poller.read_once()
    metrics, here = place.ray_pass.metrics, place.ray_pass.clusters.find(KEY)
    gone = keys.RayKey(builders.NAMESPACE, "older")
    metrics.ray_put_at.labels(gone.namespace, gone.cluster).set(1)
    place.ray_pass.shown.add(gone)
    place.ray_pass.clusters.find = lambda key: here if key == KEY else None  # type: ignore[method-assign]
    await place.run()
    shown = {sample.labels["cluster"] for family in metrics.ray_put_at.collect() for sample in family.samples}
    assert shown == {KEY.cluster}


async def test_a_put_is_compared_with_a_fresh_answer() -> None:
    place = Place()
    place.complete()
    await place.poller.read_once()
    place.clock.seconds += ray_pass.EVIDENCE_MAX_S + 0.1
    await place.ray_pass.run(KEY)
    assert (place.puts, place.parked) == ([], [KEY])
    await place.poller.read_once()
    await place.ray_pass.run(KEY)
    assert len(place.puts) == 1


async def test_empty_answers_right_after_the_start_stop_nothing_of_a_model_that_can_not_be_read() -> None:
    """The process never saw a Serve controller, and what runs for that model can't be composed again."""
    place = Place()
    place.complete()
    place.is_empty = True
    for _ in range(4):
        await place.poller.read_once()
        await place.run()
        place.clock.seconds += 1
    assert place.puts == []
    assert place.poller.last_write is not None
    assert place.poller.last_write.kind is serve.RayWriteKind.HELD
    assert "default--broken--" in place.poller.last_write.message
    place.composed.remove(keys.ModelKey(builders.NAMESPACE, "broken"))
    await place.run()
    assert len(place.puts) == 1, "what is whole is started"


async def test_a_refused_put_is_reported_to_the_models_and_costs_the_cluster_a_delay() -> None:
    place = Place()
    place.complete()
    place.error = errors.Refused("400: num_replicas is wrong")
    await place.poller.read_once()
    with pytest.raises(errors.Refused):
        await place.run()
    write = place.poller.last_write
    assert write is not None
    assert (write.kind, write.message) == (serve.RayWriteKind.REFUSED, "400: num_replicas is wrong")
    assert isinstance(place.poller.latest(), source.Pending), "it may have happened all the same"


async def test_a_put_that_the_lease_has_no_time_for_is_made_later_and_no_model_hears_that_ray_refused_it() -> None:
    place = Place()
    place.complete()
    place.error = errors.RetryLater("the Lease has too little time left for a write", retry_after_s=1.0)
    await place.poller.read_once()
    await place.ray_pass.run(KEY)
    await place.poller.read_once()
    assert await place.ray_pass.run(KEY) == 1.0
    assert place.poller.last_write is None
    assert not isinstance(place.poller.latest(), source.Pending), "nothing was sent that an answer could lack"
    place.error = None
    await place.run()
    assert len(place.puts) == 1


async def test_a_foreign_application_without_a_config_blocks_the_write_with_a_message() -> None:
    place = Place()
    place.complete()
    foreign = builders.application("somebody-else", None)
    place.fetch_instance = lambda: instance(foreign)  # type: ignore[method-assign]
    await place.poller.read_once()
    await place.ray_pass.run(KEY)
    assert place.puts == []
    assert place.poller.last_write is not None
    assert place.poller.last_write.kind is serve.RayWriteKind.HELD
    assert "somebody-else" in place.poller.last_write.message


async def instance(*applications: serve.ApplicationView) -> client.Instance:
    return client.Instance(controller_id="c", applications={each.name: each for each in applications})
