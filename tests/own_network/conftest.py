"""Outside of their network these tests fail with the command that runs them."""

from __future__ import annotations

import socket

import pytest
from tests.support.endpoint_slices import OWN_ADDRESS


@pytest.fixture(scope="session", autouse=True)
def own_network() -> None:
    with socket.socket() as probe:
        try:
            probe.bind((OWN_ADDRESS, 0))
        except OSError as error:
            pytest.fail(f"{OWN_ADDRESS}: {error.strerror}. Run these tests by: python -m tests.own_network")
