"""Readings of processes that come and go become sums that never fall and lose nothing that was read."""

from __future__ import annotations

import asyncio
import contextlib
import json
from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from fairlead_gateway import measurements, metrics
from fairlead_gateway.replica_scrape import Fold, Place, Reading, Scraper, make_session

STABLE, CANDIDATE = "3f0c9a1b2d", "7ab0c9d1e2"
PLACE = Place(model="digits", revision=STABLE, replica="a", host="127.0.0.1", port=20000)


def reading(instance: str, *, age_s: float = 0.0, **counts: int) -> Reading:
    """`pairs`, `disagreed` are of the candidate; `labelled`, `correct`, `low`, `high` of the stable revision."""

    def given(*names: str) -> dict[str, int]:
        return {name: counts.get(name, 0) for name in names}

    return Reading.model_validate(
        {
            "instance": instance,
            "ageSeconds": age_s,
            "shadow": {CANDIDATE: given("pairs", "disagreed", "failed", "dropped")},
            "feedback": {STABLE: given("labelled", "correct")},
            "scores": {"bounds": [0.5], "counts": [counts.get("low", 0), counts.get("high", 0)]},
        }
    )


def watched() -> tuple[measurements.Store, Fold]:
    store = measurements.Store()
    store.follow({"digits": frozenset({STABLE, CANDIDATE})})
    fold = Fold(store)
    fold.watch({"digits"}, 100.0)
    return store, fold


def shown(store: measurements.Store, revision: str) -> dict[str, Any]:
    return store.counters_of("digits", revision).body()


def test_each_count_goes_to_the_right_revision() -> None:
    store, fold = watched()

    fold.add(PLACE, reading("a", pairs=5, disagreed=2, labelled=3, correct=1, low=4, high=6), 101.0)

    assert shown(store, CANDIDATE)["shadow"] == {"pairs": 5, "disagreed": 2, "failed": 0, "dropped": 0}
    assert shown(store, STABLE)["feedback"] == {"labelled": 3, "correct": 1}
    assert shown(store, STABLE)["scores"] == {"bounds": [0.5], "counts": [4, 6]}
    assert shown(store, STABLE)["shadow"]["pairs"] == 0


def test_only_the_growth_of_counters_is_added() -> None:
    store, fold = watched()
    for pairs in (5, 5, 9):
        fold.add(PLACE, reading("a", pairs=pairs), 101.0)

    assert shown(store, CANDIDATE)["shadow"]["pairs"] == 9


def test_counts_already_read_survive_a_restart_of_the_replica() -> None:
    store, fold = watched()
    fold.add(PLACE, reading("a", pairs=5), 101.0)

    fold.add(PLACE, reading("b", pairs=2), 102.0)

    assert shown(store, CANDIDATE)["shadow"]["pairs"] == 7


def test_counts_from_before_the_first_reading_are_left_out() -> None:
    store, fold = watched()
    fold.add(PLACE, reading("a", age_s=50.0, pairs=1000), 101.0)

    fold.add(PLACE, reading("a", age_s=51.0, pairs=1003), 102.0)

    assert shown(store, CANDIDATE)["shadow"]["pairs"] == 3


def test_a_counter_that_was_reset_continues() -> None:
    store, fold = watched()
    fold.add(PLACE, reading("a", labelled=10, correct=9), 101.0)

    fold.add(PLACE, reading("a", labelled=2, correct=1), 102.0)

    assert shown(store, STABLE)["feedback"] == {"labelled": 12, "correct": 10}


def test_a_revision_without_a_route_is_left_out() -> None:
    store = measurements.Store()
    store.follow({"digits": frozenset({STABLE})})
    fold = Fold(store)
    fold.watch({"digits"}, 100.0)

    fold.add(PLACE, reading("a", pairs=5), 101.0)

    assert shown(store, CANDIDATE)["shadow"]["pairs"] == 0


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 20), st.booleans()), max_size=60))
def test_the_sum_equals_the_last_readings_of_all_processes(
    steps: list[tuple[str, int, bool]],
) -> None:
    """Processes count, are read or not, and end: the sum is that of each one's last reading, and never falls."""
    store, fold = watched()
    counts: dict[str, int] = {}
    read: dict[str, int] = {}
    for name, more, is_read in steps:
        counts[name] = counts.get(name, 0) + more
        if is_read:
            before = shown(store, CANDIDATE)["shadow"]["pairs"]
            fold.add(PLACE, reading(name, pairs=counts[name]), 101.0)
            read[name] = counts[name]
            assert shown(store, CANDIDATE)["shadow"]["pairs"] >= before

    assert shown(store, CANDIDATE)["shadow"]["pairs"] == sum(read.values())


async def test_a_replica_that_never_answers_delays_the_first_reading_of_no_other_model() -> None:
    is_read = asyncio.Event()

    async def answer_or_hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readuntil(b"\r\n\r\n")
        if b"/-/measurements/hangs" in request:
            await reader.read()
        else:
            body = b'{"instance": "a"}'
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))
        writer.close()

    counted = metrics.Metrics()
    server = await asyncio.start_server(answer_or_hang, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    hanging = [replace(PLACE, port=port, replica="hangs")]
    good = [replace(PLACE, port=port, model="cats")]
    scraper = Scraper(counted, begun=is_read.set)
    async with make_session() as session, server, contextlib.aclosing(scraper):
        scraper.start(session, {"digits": hanging, "cats": good, "empty": []})
        while "cats" not in scraper.begun:
            is_read.clear()
            await is_read.wait()

        assert scraper.begun == {"cats", "empty"}

        scraper.start(session, {"digits": hanging})

        assert scraper.begun == set()


async def test_a_round_that_goes_on_says_nothing_of_a_model_that_left_and_came_back() -> None:
    asked, answer = asyncio.Event(), asyncio.Event()

    async def answer_late(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        asked.set()
        await answer.wait()
        writer.write(b"HTTP/1.1 503 X\r\ncontent-length: 0\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(answer_late, "127.0.0.1", 0)
    places = {"digits": [replace(PLACE, port=server.sockets[0].getsockname()[1])]}
    scraper = Scraper(metrics.Metrics())
    async with make_session() as session, server, contextlib.aclosing(scraper):
        scraper.start(session, places)
        await asked.wait()
        scraper.start(session, {})
        asked.clear()
        scraper.start(session, places)
        await asked.wait()

        assert scraper.begun == set()

        answer.set()


NUMBERS = st.one_of(st.integers(-2, 3), st.floats(), st.just(1e999), st.just(10**400), st.booleans())
ODD = st.recursive(
    st.one_of(NUMBERS, st.none(), st.text(max_size=5), st.sampled_from([STABLE, CANDIDATE, "a"])),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(
            st.one_of(
                st.text(max_size=5),
                st.sampled_from(
                    [STABLE, CANDIDATE, "instance", "ageSeconds", "scores", "bounds", "counts", "shadow", "pairs"]
                ),
            ),
            inner,
            max_size=5,
        ),
    ),
    max_leaves=20,
)
FIELDS = st.fixed_dictionaries(
    {"instance": st.one_of(st.sampled_from("ab"), ODD)},
    optional={
        "ageSeconds": st.one_of(NUMBERS, ODD),
        "shadow": st.one_of(st.dictionaries(st.sampled_from([STABLE, CANDIDATE]), ODD, max_size=2), ODD),
        "feedback": st.one_of(st.dictionaries(st.sampled_from([STABLE, CANDIDATE]), ODD, max_size=2), ODD),
        "scores": st.one_of(
            st.fixed_dictionaries({"bounds": st.lists(NUMBERS, max_size=3), "counts": st.lists(NUMBERS, max_size=4)}),
            ODD,
        ),
    },
)
BODIES = st.one_of(st.binary(max_size=64), st.one_of(FIELDS, ODD).map(lambda value: json.dumps(value).encode()))


@given(st.lists(st.tuples(st.booleans(), BODIES), max_size=20))
def test_no_answer_of_a_replica_raises_or_stops_other_models(invalid: list[tuple[bool, bytes]]) -> None:
    """Each odd answer comes from one of two replicas of a model; another model's replica counts one more each time."""
    counted = metrics.Metrics()
    counted.measured.follow({"digits": frozenset({STABLE, CANDIDATE}), "cats": frozenset({STABLE, CANDIDATE})})
    scraper = Scraper(counted)
    other = Place(model="cats", revision=STABLE, replica="b", host="127.0.0.1", port=1)
    for number, (is_stable, body) in enumerate(invalid, 1):
        scraper.take(replace(PLACE, revision=STABLE if is_stable else CANDIDATE), body)
        good = {
            "instance": "g",
            "feedback": {STABLE: {"labelled": number}},
            "scores": {"bounds": [0], "counts": [number, 0]},
        }
        scraper.take(other, json.dumps(good).encode())

    found = counted.measured.counters_of("cats", STABLE).body()
    assert found["feedback"]["labelled"] == len(invalid)
    assert sum(found["scores"]["counts"]) == len(invalid)
    for name in (STABLE, CANDIDATE):
        shown_body = counted.measured.counters_of("digits", name).body()
        json.dumps(shown_body, allow_nan=False)
        assert len(shown_body["scores"]["counts"]) in (0, len(shown_body["scores"]["bounds"]) + 1)
