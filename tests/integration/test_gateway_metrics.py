"""What a gateway exports of its replicas and routes, from a real HAProxy."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.gateway_process import Gateway, Replicas, gateway_and_replicas, revision, spec
from tests.support.until import until

pytestmark = pytest.mark.real

A, B = "aaaaaaaaaa", "bbbbbbbbbb"
UP = "fairlead_gateway_stable_up_replicas"


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[tuple[Gateway, Replicas]]:
    with gateway_and_replicas(tmp_path) as made:
        yield made


def exported(gateway: Gateway, name: str) -> set[str]:
    page = gateway.admin("/metrics")
    assert page is not None
    return {line for line in page.text.splitlines() if line.startswith(f"{name}{{")}


def test_the_stable_replicas_that_take_requests_are_exported_for_each_route(alone: tuple[Gateway, Replicas]) -> None:
    gateway, replicas = alone
    first = replicas.start("digits", A)
    replicas.start("digits", A)
    replicas.start("digits", B)
    both = {A: revision(), B: revision()}
    routes = {"digits": spec(A, both, candidate=B), "empty": spec(A, {A: revision()}), "new": spec(None, {})}
    gateway.apply(**routes)
    gateway.wait_up("digits", A, 2)
    until(
        lambda: exported(gateway, UP) == {f'{UP}{{model="digits"}} 2.0', f'{UP}{{model="empty"}} 0.0'},
        "two replicas of the one, none of the other, and no series of the model that has no stable revision",
        explain=lambda: exported(gateway, UP),
    )
    first.kill()
    until(lambda: gateway.metric(UP, model="digits") == 1, "one is left")
    gateway.apply(**{**routes, "digits": spec(B, both)})
    until(lambda: gateway.metric(UP, model="digits") == 1, "the new stable revision has one")
    gateway.forget("digits", "empty", "new")
    until(lambda: exported(gateway, UP) == set(), "no series", explain=lambda: exported(gateway, UP))
