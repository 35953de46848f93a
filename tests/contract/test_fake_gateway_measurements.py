"""The fake gateway's measurements have the form of a real agent's: an analysis must not be tested on another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.support.fake_gateway import FakeGateway
from tests.support.fake_ray import FakeRay
from tests.support.gateway_process import Gateway, fetch, revision, spec

from fairlead_gateway.measurements import Counted

pytestmark = pytest.mark.real
STABLE, CANDIDATE = "aaaaaaaaaa", "bbbbbbbbbb"


def form(value: Any) -> Any:
    """The names and types of a document; the values of a list count as one."""
    if isinstance(value, dict):
        return {key: form(each) for key, each in value.items()}
    if isinstance(value, list):
        return sorted({str(form(each)) for each in value})
    return type(value).__name__


def test_the_fake_and_the_real_gateway_answer_in_the_same_form(tmp_path: Path) -> None:
    route = spec(STABLE, {STABLE: revision(), CANDIDATE: revision()}, candidate=CANDIDATE)
    real = Gateway(tmp_path / "gateway")
    real.start()
    try:
        real.apply(digits=route)
        with (
            FakeRay() as ray,
            FakeGateway(namespace="default", rays={"default": ray}, read_routes=lambda: {"digits": route}) as fake,
        ):
            admin = fake.addresses.split(",")[1]
            pretended = fetch(f"{admin}/v1/measurements/digits")
            # As the stories of the faults have it count.
            fake.measurements = {STABLE: Counted(total=7).body(), CANDIDATE: Counted(total=5, server_errors=2).body()}
            counted = fetch(f"{admin}/v1/measurements/digits")
            refused = fetch(f"{admin}/v1/measurements/cats")

        real_body = real.admin("/v1/measurements/digits")
        real_refused = real.admin("/v1/measurements/cats")
        assert real_body is not None
        assert real_refused is not None
        assert (pretended.status, form(pretended.json)) == (real_body.status, form(real_body.json))
        assert (counted.status, form(counted.json)) == (real_body.status, form(real_body.json))
        assert (refused.status, form(refused.json)) == (real_refused.status, form(real_refused.json))
    finally:
        real.stop()
