"""Nobody runs the benchmarks for weeks: what they import and read has to be there all the same."""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping
from pathlib import Path

import pytest
from benchmarks import apply_to_prediction
from tests.support import builders

from fairlead_operator.state import actions, route, serve

FOLDER = Path(__file__).resolve().parents[3] / "benchmarks"
MODEL, REVISION = "digits", "3f0c9a1b2d"


@pytest.mark.parametrize("name", sorted(path.stem for path in FOLDER.glob("*.py")))
def test_imports(name: str) -> None:
    assert importlib.import_module(f"benchmarks.{name}").__doc__


def entry(*, stable: str | None, candidate: str | None) -> route.RouteEntry:
    return route.RouteEntry(
        stable=stable,
        candidate=candidate,
        candidate_weight=0,
        revisions={},
        max_request_bytes=1,
        request_timeout_s=1,
    )


WRITTEN: Mapping[str, actions.Action | serve.Put] = {
    "ControllerRevision kept": actions.CreateRevision(
        name=f"{MODEL}-{REVISION}",
        revision=REVISION,
        number=1,
        template=builders.revision().template,
        owner_uid="u",
        cluster="default",
        application={},
    ),
    "Serve config put": serve.Put(body=b"", changes=(f"start default--{MODEL}--{REVISION}",)),
    "candidate's route written": actions.WriteRoute(entry=entry(stable=None, candidate=REVISION), owner_uid="u"),
    "proved by a prediction": actions.Prove(revision=REVISION, contract_of=None),
    "traffic's route written": actions.WriteRoute(entry=entry(stable=REVISION, candidate=None), owner_uid="u"),
}


@pytest.mark.parametrize("what", sorted(WRITTEN))
def test_the_moments_of_an_apply_are_read_by_the_words_that_the_operator_logs(what: str) -> None:
    found = [
        name
        for name, pattern in apply_to_prediction.OPERATOR.items()
        if re.search(pattern.format(model=MODEL, revision=REVISION), str(WRITTEN[what]))
    ]
    assert found == [what]
