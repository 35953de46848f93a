"""Ray's token of each namespace: from its Secret, as it is now, and shown to nobody."""

from __future__ import annotations

import base64
import contextlib
import logging
from collections.abc import AsyncIterator

import pytest
from tests.support import fake_watches
from tests.support.fake_watches import FakeWatches
from tests.support.hand_clock import HandClock

from fairlead_operator.clients import errors, paths
from fairlead_operator.observe.directory import tokens
from fairlead_operator.state import infrastructure

pytestmark = [pytest.mark.looptime, pytest.mark.asyncio]

SECRETS = paths.of_kind(infrastructure.SECRET, None)


class World:
    def __init__(self) -> None:
        self.api = FakeWatches()
        self.tokens = tokens.KubernetesTokens(self.api, (), clock=HandClock())

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[World]:
        async with fake_watches.running(self.tokens.run()):
            yield self

    async def write(self, text: bytes, *, namespace: str = "a") -> None:
        data = {"auth_token": base64.b64encode(text).decode()}
        await self.api.put(SECRETS, "fairlead-ray-token", namespace=namespace, data=data)


async def test_each_namespace_has_its_own_and_a_rotated_one_is_taken() -> None:
    async with World().running() as world:
        await world.write(b"one\n")
        await world.write(b"other", namespace="b")
        assert (world.tokens.read("a"), world.tokens.read("b")) == ("one", "other")
        await world.write(b"two")
        assert world.tokens.read("a") == "two"
        assert world.api.selectors[SECRETS].fields == "metadata.name=fairlead-ray-token"


@pytest.mark.parametrize("text", [b"", b"\xff", b"two\nlines", b"a b", b"a\r\nx: y"])
async def test_what_cannot_be_a_header_is_no_token(text: bytes) -> None:
    async with World().running() as world:
        await world.write(text)
        with pytest.raises(errors.Forbidden, match="has no auth_token"):
            world.tokens.read("a")


async def test_without_secret_or_right_it_says_so() -> None:
    world = World()
    with pytest.raises(errors.Forbidden, match="not read yet"):
        world.tokens.read("a")
    async with world.running():
        with pytest.raises(errors.Forbidden, match="has no auth_token"):
            world.tokens.read("a")
    world = World()
    world.api.failing = {SECRETS: errors.Forbidden("no right")}
    async with world.running():
        with pytest.raises(errors.Forbidden, match="no right"):
            world.tokens.read("a")


async def test_no_token_is_in_a_log_or_a_representation(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with World().running() as world:
        await world.write(b"very-secret")
        await world.write(b"very secret")
        assert "very" not in caplog.text
        assert "very-secret" not in repr(tokens.view_secret({"data": {"auth_token": "dmVyeS1zZWNyZXQ="}}))
