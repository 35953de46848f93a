"""Where a model is cut: each place is one that few tensors cross, and the largest stage is as small as it can be."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead_runtime.stages import cutting
from fairlead_runtime.stages.cutting import CannotCutError, Flow, Place, Step


def chain(*weights: int) -> Flow:
    """A step for each weight, of so many bytes, one after the other."""
    steps = [
        Step(
            name=f"s{i}",
            takes=(f"t{i}",),
            makes=(f"t{i + 1}",),
            weights=frozenset({f"w{i}"}) if size else frozenset(),
        )
        for i, size in enumerate(weights)
    ]
    sizes = {f"w{i}": size for i, size in enumerate(weights) if size}
    return Flow(inputs=("t0",), outputs=(f"t{len(weights)}",), steps=tuple(steps), weight_bytes=sizes)


def step(name: str, *takes: str, weights: str = "") -> Step:
    return Step(name=name, takes=takes, makes=(name,), weights=frozenset(weights.split()))


def test_a_chain_is_cut_where_both_halves_are_equal() -> None:
    first, second = cutting.cut(chain(100, 200, 300, 600), 2)
    assert (first.weight_bytes, second.weight_bytes) == (600, 600)
    assert (first.gives, second.takes) == (("t3",), ("t3",))


def test_a_weight_that_two_stages_read_counts_in_both() -> None:
    steps = (step("a", "x", weights="shared"), step("b", "a", weights="own"), step("c", "b", weights="shared"))
    flow = Flow(inputs=("x",), outputs=("c",), steps=steps, weight_bytes={"shared": 50, "own": 10})
    assert sorted(stage.weight_bytes for stage in cutting.cut(flow, 2)) == [50, 60]


def test_a_residual_branch_is_not_torn_where_a_single_tensor_crosses_nearby() -> None:
    steps = (
        step("conv1", "x", weights="w1"),
        step("conv2", "conv1", weights="w2"),
        step("add", "conv1", "conv2"),
        step("dense", "add", weights="w3"),
    )
    flow = Flow(inputs=("x",), outputs=("dense",), steps=steps, weight_bytes={"w1": 10, "w2": 10, "w3": 20})
    places = list(cutting.find_places(flow))
    assert Place(steps=2, tensors=("conv1", "conv2")) in places
    first, second = cutting.cut(flow, 2)
    assert (first.gives, first.weight_bytes, second.weight_bytes) == (("add",), 20, 20)


def test_a_bias_stays_with_its_layer() -> None:
    steps = (
        step("matmul", "x", weights="kernel"),
        step("bias", "matmul", weights="small"),
        step("relu", "bias"),
        step("matmul2", "relu", weights="kernel2"),
    )
    sizes = {"kernel": 100_000, "small": 100, "kernel2": 100_000}
    flow = Flow(inputs=("x",), outputs=("matmul2",), steps=steps, weight_bytes=sizes)
    assert cutting.cut(flow, 2)[0].gives == ("relu",)


def test_what_is_needed_after_the_cut_crosses_it_in_the_order_in_which_it_was_made() -> None:
    steps = (step("a", "x", weights="w1"), step("b", "a", "x", weights="w2"), step("c", "b", "x"))
    flow = Flow(inputs=("x",), outputs=("a", "c"), steps=steps, weight_bytes={"w1": 1, "w2": 1})
    first, second = cutting.cut(flow, 2)
    assert first.gives == second.takes == ("x", "a")
    assert second.gives == ("a", "c")


def test_a_tensor_that_cannot_be_sent_crosses_nothing() -> None:
    steps = (step("a", "x", weights="w1"), step("b", "a", weights="w2"))
    flow = Flow(inputs=("x",), outputs=("b",), steps=steps, weight_bytes={"w1": 1, "w2": 1}, unsendable={"a"})
    with pytest.raises(
        CannotCutError, match=r"^it can't be cut into stages .* leave spec\.optimization\.parallelism out"
    ):
        cutting.cut(flow, 2)


def test_more_stages_than_places_are_refused_with_the_most_that_there_are() -> None:
    with pytest.raises(CannotCutError, match=r"^it can be cut into at most 3 stages .*parallelism\.stages: 3$"):
        cutting.cut(chain(1, 0, 2, 0, 0, 3), 4)


@given(weights=st.lists(st.integers(0, 1000), min_size=2, max_size=9), stages=st.integers(2, 4))
def test_no_cut_is_better_balanced_by_more_than_a_hundredth(weights: list[int], stages: int) -> None:
    reading = [i for i, size in enumerate(weights) if size]
    if len(reading) < stages:
        with pytest.raises(CannotCutError):
            cutting.cut(chain(*weights), stages)
        return
    found = cutting.cut(chain(*weights), stages)
    assert sum(stage.weight_bytes for stage in found) == sum(weights)
    assert all(stage.weight_bytes for stage in found)
    assert [stage.end for stage in found[:-1]] == [stage.start for stage in found[1:]]
    best = min(
        max(sum(weights[a:b]) for a, b in itertools.pairwise((0, *ends, len(weights))))
        for ends in itertools.combinations(range(1, len(weights)), stages - 1)
    )
    assert max(stage.weight_bytes for stage in found) <= best + max(1, sum(weights) // 100)


@st.composite
def graphs(draw: st.DrawFn) -> Flow:
    """Steps that each take one or two earlier tensors; all that nobody takes is an output."""
    count = draw(st.integers(2, 10))
    steps, sizes = [], {}
    for i in range(count):
        earlier = ["x", *(f"s{j}" for j in range(i))]
        takes = draw(st.lists(st.sampled_from(earlier), min_size=1, max_size=2, unique=True))
        weights = f"w{i}" if draw(st.booleans()) else ""
        if weights:
            sizes[weights] = draw(st.integers(1, 100))
        steps.append(step(f"s{i}", *takes, weights=weights))
    taken = {tensor for each in steps for tensor in each.takes}
    outputs = tuple(each.name for each in steps if each.name not in taken)
    return Flow(inputs=("x",), outputs=outputs, steps=tuple(steps), weight_bytes=sizes)


@given(flow=graphs())
def test_each_stage_has_all_that_its_steps_take(flow: Flow) -> None:
    try:
        stages = cutting.cut(flow, 2)
    except CannotCutError:
        return
    for stage in stages:
        known = set(stage.takes)
        for each in flow.steps[stage.start : stage.end]:
            assert set(each.takes) <= known
            known |= set(each.makes)
        assert set(stage.gives) <= known
    assert stages[-1].gives == flow.outputs


@given(flow=graphs())
def test_a_single_tensor_that_all_paths_go_through_is_found(flow: Flow) -> None:
    places = {place.tensors for place in cutting.find_places(flow)}
    for each in flow.steps[:-1]:
        if _all_paths_go_through(flow, each.name):
            assert (each.name,) in places


def _all_paths_go_through(flow: Flow, name: str) -> bool:
    """Whether no output is reached from the input without this step, and every output comes after it."""
    reached = {"x"}
    for each in flow.steps:
        if each.name != name and reached & set(each.takes):
            reached.add(each.name)
    return not reached & set(flow.outputs) and name not in flow.outputs
