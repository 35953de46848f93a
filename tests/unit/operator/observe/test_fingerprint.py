"""What wakes the models of a namespace, and what does not."""

from __future__ import annotations

import datetime

from fairlead_operator.observe import fingerprint
from fairlead_operator.state import serve
from fairlead_operator.state.serve import RayWriteKind

NOW = datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC)


def world(kind: RayWriteKind | None, message: str = "") -> fingerprint.World:
    writes = {"default": serve.RayWrite(kind=kind, message=message, since=NOW)} if kind is not None else {}
    return fingerprint.World("ns", {}, {}, [], writes)


def test_a_serve_config_that_ray_accepts_for_one_model_wakes_no_other() -> None:
    seen = {world(kind).hash_model("digits") for kind in (None, RayWriteKind.PUT, RayWriteKind.KEPT)}
    assert len(seen) == 1


def test_a_serve_config_that_ray_refuses_or_that_is_held_wakes_the_models_that_wait_for_it() -> None:
    accepted = world(RayWriteKind.PUT)
    for other in (world(RayWriteKind.REFUSED, "no"), world(RayWriteKind.HELD, "no")):
        assert other.hash_model("digits", is_hot=True) != accepted.hash_model("digits", is_hot=True)
    assert world(RayWriteKind.REFUSED, "a").hash_model("digits") != world(RayWriteKind.REFUSED, "b").hash_model(
        "digits"
    )
