"""Which files a template watches: a worker forked after one of them has changed would run other code than it reads."""

from __future__ import annotations

import json
import os
import pathlib

import pytest

from fairlead_ray_node import preload
from fairlead_runtime import config
from fairlead_spans import trust


@pytest.mark.parametrize("module", [config, trust], ids=["runtime", "spans"])
def test_a_changed_file_of_what_a_replica_runs_is_found(module: object) -> None:
    file = pathlib.Path(str(module.__file__))
    before = dict(preload.stamps())
    assert preload.changed(before) is None
    size, changed_at = before[file]
    assert preload.changed({**before, file: (size + 1, changed_at)}) == file


def test_a_file_of_others_is_not_watched() -> None:
    assert not {pathlib.Path(str(each.__file__)) for each in (json, os, pytest)} & preload.stamps().keys()
