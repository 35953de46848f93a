"""What breaks a caller, and what doesn't."""

from __future__ import annotations

import pytest

from fairlead_operator.state.signature import Signature, Tensor, differences

IMAGES = Tensor(datatype="FP32", shape=(-1, 28, 28))
SCORES = Tensor(datatype="FP32", shape=(-1, 10))
STABLE = Signature(inputs={"images": IMAGES}, outputs={"scores": SCORES})


def changed(*, inputs: dict[str, Tensor] | None = None, outputs: dict[str, Tensor] | None = None) -> Signature:
    return Signature(
        inputs=inputs if inputs is not None else STABLE.inputs,
        outputs=outputs if outputs is not None else STABLE.outputs,
    )


@pytest.mark.parametrize(
    ("after", "words"),
    [
        pytest.param(changed(inputs={}), ["input images is gone"], id="a lost input"),
        pytest.param(
            changed(inputs={"images": IMAGES, "mask": IMAGES}),
            ["input mask is new and required"],
            id="a new input, as every input is required",
        ),
        pytest.param(
            changed(inputs={"image": IMAGES}),
            ["input images is gone", "input image is new and required"],
            id="a renamed input",
        ),
        pytest.param(
            changed(inputs={"images": Tensor(datatype="UINT8", shape=IMAGES.shape)}),
            ["input images: FP32 became UINT8"],
            id="another type",
        ),
        pytest.param(
            changed(inputs={"images": Tensor(datatype="FP32", shape=(-1, 28, 28, 1))}),
            ["input images: shape [-1, 28, 28] became [-1, 28, 28, 1]"],
            id="another rank",
        ),
        pytest.param(
            changed(outputs={"scores": Tensor(datatype="FP32", shape=(-1, 11))}),
            ["output scores: shape [-1, 10] became [-1, 11]"],
            id="another fixed size",
        ),
        pytest.param(changed(outputs={}), ["output scores is gone"], id="a lost output"),
    ],
)
def test_breaking_signature_changes_are_described(after: Signature, words: list[str]) -> None:
    assert list(differences(STABLE, after)) == words


@pytest.mark.parametrize(
    "after",
    [
        pytest.param(STABLE, id="the same"),
        pytest.param(changed(outputs={"scores": SCORES, "label": SCORES}), id="a new output"),
        pytest.param(
            changed(inputs={"images": Tensor(datatype="FP32", shape=(-1, -1, 28))}), id="a size that became free"
        ),
        pytest.param(
            changed(inputs={"images": Tensor(datatype="FP32", shape=(8, 28, 28))}), id="a free size that became fixed"
        ),
        pytest.param(
            Signature(inputs=dict(reversed(STABLE.inputs.items())), outputs=STABLE.outputs), id="another order"
        ),
    ],
)
def test_compatible_signature_changes_are_no_difference(after: Signature) -> None:
    assert differences(STABLE, after) == ()
