from __future__ import annotations

import json

import pytest
from tests.support import builders

from fairlead_operator.desired import revision
from fairlead_operator.state import revision_data


def hashed(uid: str = builders.UID, **spec: object) -> str:
    return revision.revision_of(uid, revision.template_of(builders.spec(**spec)))


MODEL = {"uri": builders.URI}


@pytest.mark.parametrize(
    "spec",
    [
        pytest.param({"model": {**MODEL, "uri": "file:///models/digits/2"}}, id="the source"),
        pytest.param({"model": {**MODEL, "digest": builders.DIGEST}}, id="its content"),
        pytest.param({"model": {**MODEL, "format": "Keras"}}, id="its format"),
        pytest.param({"model": {**MODEL, "signature": "other"}}, id="its signature"),
        pytest.param({"model": {**MODEL, "warmup": {"batchSizes": [1, 8]}}}, id="its warm-up"),
        pytest.param({"model": {**MODEL, "example": '{"instances": [[1]]}'}}, id="its example"),
        pytest.param({"model": {**MODEL, "version": "v2"}}, id="a person's name for it"),
        pytest.param({"serving": {"maxOngoingRequests": 8}}, id="how it answers"),
        pytest.param({"optimization": {}}, id="whether variants are made"),
    ],
)
def test_fields_that_replicas_are_started_with_change_the_revision(spec: dict[str, object]) -> None:
    assert hashed(**spec) != hashed()


@pytest.mark.parametrize(
    "spec",
    [
        pytest.param({"scaling": {"replicas": 5}}, id="scaling"),
        pytest.param({"rollout": {"paused": True}}, id="rollout"),
        pytest.param({"suspend": True}, id="suspend"),
        pytest.param({"serving": {"maxOngoingRequests": 64}}, id="a default written out"),
    ],
)
def test_other_fields_do_not_change_the_revision(spec: dict[str, object]) -> None:
    assert hashed(**spec) == hashed()


def test_each_bound_of_an_optimization_makes_another_revision() -> None:
    given = ({}, {"maxScoreChange": 0.2}, {"optimizeFor": "Size"}, {"accuracyFloor": {"maxDrop": 0.02}})
    assert len({hashed(optimization=each) for each in given}) == len(given)
    assert hashed(optimization={"optimizeFor": "Latency"}) == hashed(optimization={})


def test_a_revision_belongs_to_one_object_and_never_changes_its_name() -> None:
    assert hashed(uid="another") != hashed()
    assert hashed() == "166456d531", "a changed hash would replace every replica of every user at an upgrade"


@pytest.mark.parametrize("more", [{}, {"optimization": {"techniques": ["Folding"], "maxScoreChange": 0.5}}])
def test_a_kept_template_is_read_back_the_same(more: dict[str, object]) -> None:
    model = {**MODEL, "version": "v2", "warmup": {"batchSizes": [4]}}
    template = revision.template_of(builders.spec(model=model, **more))
    assert (
        revision_data.template_from_json(json.loads(json.dumps(revision_data.template_to_json(template)))) == template
    )
