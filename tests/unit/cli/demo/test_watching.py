"""The demo's look at an object: one kubectl for all looks."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence

import pytest

from fairlead_cli.demo import narration, watching


def printing(*objects: object, then: str = "import signal; signal.pause()") -> Sequence[str]:
    """A program that prints objects as kubectl does."""
    lines = [f"print({json.dumps(json.dumps(each, indent=4))}, flush=True)" for each in objects]
    return [sys.executable, "-c", "\n".join([*lines, then])]


def test_the_newest_object_is_returned_until_a_newer_one_arrives() -> None:
    nested = {"metadata": {"name": "dense"}, "status": {"list": [{}, {"a": "}"}]}}
    with watching.watch(printing({"first": 1}, nested)) as newest:
        found = newest(30)
        while found != nested:
            found = newest(30)
        assert newest(0.01) == nested


def test_an_empty_object_is_returned_before_the_first_one_arrives() -> None:
    with watching.watch(printing()) as newest:
        assert newest(0.01) == {}


def test_a_kubectl_that_ends_fails_the_demo_with_its_error_output() -> None:
    failing = "import sys; sys.exit('error: no such thing')"
    with watching.watch(printing(then=failing)) as newest, pytest.raises(narration.DemoFailed, match="no such thing"):
        newest(30)
