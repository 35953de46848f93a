"""An example that was given is used for the warm-up, the proof, the batching proof and the expected cost of a call."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest
from tests.support.replica_parts import float_signature

from fairlead_runtime.errors import LoadError, LoadReason
from fairlead_runtime.model import merging, warmup
from fairlead_runtime.model.predictor import (
    Array,
    InputRefusedError,
    LoadedModel,
    ModelFailedError,
    Tensors,
    ValueFailedError,
)
from fairlead_runtime.model.signature import DType, Signature, TensorSpec

ROWS = np.array([[1, 2, 3, 4], [5, 6, 7, 8]], np.float32)


def pictures() -> Signature:
    """Encoded images in, one number for each out."""
    return Signature(
        name="serving_default",
        method="",
        inputs=(TensorSpec(name="photo", dtype=DType.STRING, shape=(None,)),),
        outputs=(TensorSpec(name="light", dtype=DType.FLOAT32, shape=(None,)),),
    )


@dataclass
class Reader:
    """Refuses what is no image: nothing that could be made up from its signature is one."""

    depends_on_others: bool = False
    rows: list[int] = field(default_factory=list)

    def __call__(self, inputs: Tensors) -> Tensors:
        (photos,) = inputs
        self.rows.append(len(photos))
        if not all(photo.startswith(b"image ") for photo in photos):
            raise InputRefusedError("Unknown image file format")
        light = np.array([float(photo.split()[1]) for photo in photos], np.float32)
        return (light - light.mean() if self.depends_on_others else light,)


def photos(*values: int) -> Tensors:
    found: Array = np.empty(len(values), dtype=object)
    found[:] = [b"image %d" % value for value in values]
    return (found,)


def loaded(predictor: object, signature: Signature) -> LoadedModel:
    return LoadedModel(signature=signature, predictor=predictor, kind="stand-in")  # type: ignore[arg-type]


def test_the_warm_up_and_the_proof_use_the_given_example() -> None:
    reader = Reader()
    warm = warmup.run(loaded(reader, pictures()), (4,), [photos(1, 2)])
    assert warm.example is not None
    assert warm.example[0].tolist() == [b"image 1", b"image 2"]
    assert warm.refusal is None
    assert set(reader.rows) == warm.speed.call_s.keys() == {1, 2, 4}
    assert warm.inputs_of(4)[0].tolist() == [b"image 1", b"image 2"] * 2
    assert warm.speed.single_s < 1.0, "the speed of a call is known"


def test_a_model_that_refuses_its_example_does_not_serve() -> None:
    model = loaded(Reader(), pictures())
    text = np.array([b"no image"], dtype=object)
    with pytest.raises(LoadError) as error:
        warmup.run(model, (1,), [(text,)])
    assert error.value.reason is LoadReason.EXAMPLE_INVALID
    assert error.value.sentence == (
        "the model refuses the example of 1 row that was given: Unknown image file format: give an example that the "
        "model answers, or none"
    )
    with pytest.raises(LoadError, match="request 2: the model refuses the example of 1 row"):
        warmup.run(model, (1,), [photos(1), (text,)])


def test_a_model_that_fails_on_its_example_does_not_serve() -> None:
    def fail(_: Tensors) -> Tensors:
        raise ModelFailedError("out of memory")

    with pytest.raises(LoadError, match="the model fails on a batch of 2: out of memory"):
        warmup.run(loaded(fail, float_signature()), (1,), [(ROWS,)])


def test_a_failure_by_the_values_is_a_note_only_for_a_generated_input() -> None:
    def fail(_: Tensors) -> Tensors:
        raise ValueFailedError("index out of bounds")

    model = loaded(fail, float_signature())
    assert warmup.run(model, (1,)).refusal == "the model fails on a generated input of 1 row: index out of bounds"
    with pytest.raises(LoadError) as error:
        warmup.run(model, (1,), [(ROWS,)])
    assert error.value.reason is LoadReason.WARMUP_FAILED


def test_an_example_without_a_batch_is_used_as_it_is() -> None:
    spec = TensorSpec(name="x", dtype=DType.FLOAT32, shape=())
    model = loaded(lambda inputs: inputs, Signature(name="s", method="", inputs=(spec,), outputs=(spec,)))
    warm = warmup.run(model, (8,), [(np.array(3.0, np.float32),)])
    assert warm.speed.call_s.keys() == {1}
    assert warm.inputs_of(1)[0] == 3.0


def test_inputs_with_different_rows_are_used_as_they_are() -> None:
    specs = tuple(TensorSpec(name=name, dtype=DType.FLOAT32, shape=(None,)) for name in ("splits", "values"))
    signature = Signature(name="s", method="", inputs=specs, outputs=specs[:1])
    given = (np.array([0, 2], np.float32), np.array([1, 2, 3], np.float32))
    warm = warmup.run(loaded(lambda inputs: inputs[:1], signature), (8,), [given])
    assert warm.speed.call_s.keys() == {2}
    proof = merging.prove(loaded(refuse, signature), single_s=0.0, examples=[given])
    assert not proof.is_proved


def refuse(_: Tensors) -> Tensors:
    raise InputRefusedError("no")


def test_rows_of_the_example_prove_that_requests_can_share_a_call() -> None:
    model = loaded(Reader(), pictures())
    assert not merging.prove(model, single_s=0.0).is_proved, "random inputs are no images"
    proof = merging.prove(model, single_s=0.0, examples=[photos(1, 2, 3)])
    assert proof.is_proved, proof.why
    assert merging.prove(model, single_s=0.0, examples=[photos(1), photos(7)]).is_proved, "also one row each"
    assert merging.prove(model, single_s=1.0, examples=[photos(1, 2, 3)]).is_proved, "also of a slow model"


def test_one_row_alone_proves_nothing() -> None:
    proof = merging.prove(loaded(Reader(), pictures()), single_s=0.0, examples=[photos(1)])
    assert (proof.is_proved, proof.why) == (False, "it gave the same answer in all trials")


def test_rows_of_the_example_that_depend_on_each_other_are_found() -> None:
    model = loaded(Reader(depends_on_others=True), pictures())
    proof = merging.prove(model, single_s=0.0, examples=[photos(1, 2, 3)])
    assert not proof.is_proved
    assert proof.why.startswith("rows depend on each other")


def test_random_inputs_are_tried_beside_the_example() -> None:
    """A model that treats the rows of its example independently, and others not."""

    def call(inputs: Tensors) -> Tensors:
        (x,) = inputs
        return (x if (x > 0).all() else x - x.mean(axis=0),)

    model = loaded(call, float_signature())
    assert not merging.prove(model, single_s=0.0, examples=[(ROWS,)]).is_proved
