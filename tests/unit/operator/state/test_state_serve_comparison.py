from __future__ import annotations

import pytest

from fairlead_operator.state.serve import says_the_same


@pytest.mark.parametrize(
    ("wanted", "deployed", "same"),
    [
        pytest.param({"a": 1}, {"a": 1.0, "b": 2}, True, id="a number is a number, what we don't set is not ours"),
        pytest.param({"a": None}, {}, True, id="null is a missing key"),
        pytest.param({"a": 1}, {}, False, id="missing"),
        pytest.param({"a": {"b": [1, {"c": 2}]}}, {"a": {"b": [1, {"c": 2, "d": 3}]}}, True, id="nested"),
        pytest.param({"a": [1]}, {"a": [1, 2]}, False, id="a longer list"),
        pytest.param({"a": {}}, {"a": None}, True, id="nothing in it"),
        pytest.param({"a": {"b": 1}}, {"a": None}, False, id="something in it"),
        pytest.param({"a": "1"}, {"a": 1}, False, id="a text is not a number"),
    ],
)
def test_a_config_is_compared_with_what_ray_reports(wanted: object, deployed: object, same: bool) -> None:
    assert says_the_same(wanted, deployed) is same
