"""Drift is read once a minute for all models that ask, and a model hears of it only where something else is known."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from fairlead_operator.clients import errors
from fairlead_operator.clients.prometheus import Series
from fairlead_operator.observe import drift as reads
from fairlead_operator.state.drift import Drifting
from fairlead_operator.state.keys import ModelKey
from fairlead_operator.state.knowledge import Known, Unknown

DIGITS, WORDS = ModelKey("team-a", "digits"), ModelKey("team-a", "words")
URL = "http://prometheus"


class ScriptedPrometheus:
    """What is compared, by model and revision, and the shares of what fires, by model, revision, feature and window."""

    def __init__(self) -> None:
        self.compared: list[tuple[str, str]] = []
        self.firing: dict[tuple[str, str, str, str], float] = {}
        self.failure: str | None = None
        self.queries: list[tuple[str, str]] = []

    async def fetch_series(self, url: str, query: str, *, namespace: str) -> Sequence[Series]:
        self.queries.append((url, namespace))
        if self.failure is not None:
            raise errors.Unreachable(self.failure)
        if query.startswith("count"):
            return [Series(labels={"model": model, "revision": name}, value=36) for model, name in self.compared]
        names = ("model", "revision", "feature", "window")
        return [Series(labels=dict(zip(names, key, strict=True)), value=share) for key, share in self.firing.items()]


class Watched:
    def __init__(self) -> None:
        self.prometheus = ScriptedPrometheus()
        self.heard: list[ModelKey] = []
        self.reader = reads.DriftReader(self.prometheus, prometheus={"team-a": URL}, on_change=self.heard.append)

    async def read(self) -> list[ModelKey]:
        """The models that hear of this read."""
        self.heard.clear()
        await self.reader.read()
        return list(self.heard)

    async def read_often(self, times: int) -> list[ModelKey]:
        """The models that hear of one of so many reads."""
        return [key for _ in range(times) for key in await self.read()]


async def test_nothing_is_asked_where_no_model_asks() -> None:
    watched = Watched()
    assert await watched.read() == []
    assert watched.prometheus.queries == []


async def test_two_queries_serve_all_models_of_a_namespace() -> None:
    watched = Watched()
    assert watched.reader.find(DIGITS) is None
    watched.reader.find(WORDS)
    watched.prometheus.compared = [("digits", "a"), ("digits", "b"), ("words", "c")]
    watched.prometheus.firing = {("digits", "a", "input0_mean", "1h"): 0.31, ("digits", "a", "score", "1d"): 0.4}
    assert await watched.read() == [DIGITS, WORDS]
    assert watched.prometheus.queries == [(URL, "team-a")] * 2
    assert watched.reader.find(DIGITS) == Known({"a": Drifting(feature="score", window="1d", proved=0.4), "b": None})
    assert watched.reader.find(WORDS) == Known({"c": None})


async def test_figures_that_move_are_no_news_and_the_first_found_stays_the_worst_while_it_fires() -> None:
    watched = Watched()
    watched.reader.find(DIGITS)
    watched.prometheus.compared = [("digits", "a")]
    mean, score = ("digits", "a", "input0_mean", "1h"), ("digits", "a", "score", "1h")
    watched.prometheus.firing = {mean: 0.31}
    assert await watched.read() == [DIGITS]
    first = watched.reader.find(DIGITS)
    for shares in ({mean: 0.29, score: 0.6}, {mean: 0.05, score: 0.7}, {mean: float("nan")}):
        watched.prometheus.firing = shares
        assert await watched.read() == []
        assert watched.reader.find(DIGITS) == first
    watched.prometheus.firing = {score: 0.7}
    assert await watched.read() == [DIGITS]
    watched.prometheus.firing = {}
    assert await watched.read_often(reads.CALM_READS - 1) == []
    assert await watched.read() == [DIGITS]
    assert watched.reader.find(DIGITS) == Known({"a": None})


async def test_a_prometheus_that_starts_again_changes_nothing() -> None:
    """It has no comparison for a minute, and no alert that fires for ten."""
    watched = Watched()
    watched.reader.find(DIGITS)
    watched.prometheus.compared = [("digits", "a")]
    watched.prometheus.firing = {("digits", "a", "input0_mean", "1h"): 0.31}
    await watched.read()
    before = watched.reader.find(DIGITS)
    for _ in range(3):
        watched.prometheus.compared, firing, watched.prometheus.firing = [], watched.prometheus.firing, {}
        assert await watched.read_often(2) == []
        watched.prometheus.compared = [("digits", "a")]
        assert await watched.read_often(10) == []
        watched.prometheus.firing = firing
        assert await watched.read() == []
        assert watched.reader.find(DIGITS) == before


async def test_a_revision_that_is_compared_no_more_is_unknown_in_the_end() -> None:
    watched = Watched()
    watched.reader.find(DIGITS)
    watched.prometheus.compared = [("digits", "a")]
    await watched.read()
    watched.prometheus.compared = []
    assert await watched.read_often(reads.CALM_READS - 1) == []
    assert await watched.read() == [DIGITS]
    assert watched.reader.find(DIGITS) == Known({})


async def test_a_prometheus_that_fails_for_a_while_changes_nothing_and_then_nothing_is_known() -> None:
    watched = Watched()
    watched.reader.find(DIGITS)
    watched.prometheus.compared = [("digits", "a")]
    await watched.read()
    before = watched.reader.find(DIGITS)
    watched.prometheus.failure = "no answer within 3 s"
    for _ in range(reads.FAILURES_MAX - 1):
        assert await watched.read() == []
        assert watched.reader.find(DIGITS) == before
    assert await watched.read() == [DIGITS]
    assert isinstance(watched.reader.find(DIGITS), Unknown)
    watched.prometheus.failure = "connection refused"
    assert await watched.read() == [], "another sentence for the same is no news"
    watched.prometheus.failure = None
    assert await watched.read() == [DIGITS]
    assert watched.reader.find(DIGITS) == before


@pytest.mark.parametrize("key", [ModelKey("team-b", "digits")])
async def test_without_a_prometheus_nothing_is_known(key: ModelKey) -> None:
    watched = Watched()
    found = watched.reader.find(key)
    assert isinstance(found, Unknown)
    assert found.reason == "the operator was given no Prometheus for namespace team-b"
    assert await watched.read() == []


async def test_a_model_that_no_longer_asks_is_not_read() -> None:
    watched = Watched()
    watched.reader.find(DIGITS)
    watched.reader.forget(DIGITS)
    assert await watched.read() == []
    assert watched.prometheus.queries == []
