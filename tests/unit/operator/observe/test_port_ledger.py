"""A range of ports is given once, and comes back when the revision that it was meant for was not made."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace
from typing import Any

import pytest
from tests.support import builders
from tests.support.fake_objects import FakeObjects
from tests.support.hand_clock import HandClock

from fairlead_operator.api import spec
from fairlead_operator.clients import errors
from fairlead_operator.effects import kubernetes as objects
from fairlead_operator.observe import cluster
from fairlead_operator.state import actions, keys, observed, ports

KEY = keys.ModelKey("ns", "digits")
RANGE = ports.PortRange(first=20000, count=16)
TEMPLATE = observed.RevisionTemplate(model=spec.ModelSource(uri="file:///models/one"), serving=spec.Serving())
CREATE = actions.CreateRevision(
    owner_uid="u1",
    name="digits-abcdef0123",
    revision="abcdef0123",
    number=1,
    template=TEMPLATE,
    cluster="default",
    application={**builders.application_of("abcdef0123", TEMPLATE), "name": "ns--digits--abcdef0123"},
    ports=RANGE,
)


class Listed(FakeObjects):
    async def list_all(self, path: str, **_: str | None) -> tuple[list[dict[str, Any]], str]:
        return [body for name, body in self.stored.items() if name.startswith(path)], "1"


@dataclasses.dataclass
class Place:
    api: Any
    clock: HandClock
    ledger: cluster.PortLedger

    async def create(self, action: actions.CreateRevision = CREATE) -> actions.Outcome:
        place: Any = SimpleNamespace(ports=self.ledger, wrote_revision=lambda _: None)
        return await objects.create_revision(self.api, KEY, action, place)

    async def fails(self, error: errors.FairleadError) -> None:
        self.api.error = error
        with pytest.raises(type(error)):
            await self.create()


@pytest.fixture
def place() -> Place:
    api, clock = Listed(), HandClock()
    return Place(api=api, clock=clock, ledger=cluster.PortLedger(api, "ns", clock=clock))


async def test_what_was_given_is_taken_before_any_list_shows_it(place: Place) -> None:
    await place.ledger.taken("other")
    await place.create()
    assert list((await place.ledger.taken("other")).values()) == [RANGE]


async def test_a_refused_creation_gives_its_range_back(place: Place) -> None:
    await place.fails(errors.Forbidden("no more of them"))
    assert await place.ledger.taken("other") == {}


async def test_a_creation_of_unknown_outcome_keeps_its_range_from_others_and_not_from_itself(place: Place) -> None:
    await place.fails(errors.Unreachable("503"))
    assert list((await place.ledger.taken("other")).values()) == [RANGE]
    assert await place.ledger.taken("digits") == {}
    assert await place.create() == actions.Done()


async def test_another_revision_of_the_model_waits_while_the_outcome_is_unknown(place: Place) -> None:
    await place.fails(errors.Unreachable("503"))
    other = dataclasses.replace(CREATE, name="digits-0123456789", revision="0123456789")
    assert isinstance(await place.create(other), actions.Refused)
    place.clock.seconds += cluster.GIVEN_MAX_AGE_S + 1
    assert await place.create(other) == actions.Done()


async def test_a_range_whose_creation_never_happened_comes_back_in_time(place: Place) -> None:
    await place.fails(errors.Unreachable("503"))
    place.clock.seconds += cluster.GIVEN_MAX_AGE_S + 1
    assert await place.ledger.taken("other") == {}


async def test_a_creation_that_happened_after_all_is_listed_and_stays_taken(place: Place) -> None:
    await place.create()
    place.clock.seconds += cluster.GIVEN_MAX_AGE_S + 1
    assert list((await place.ledger.taken("digits")).values()) == [RANGE]
