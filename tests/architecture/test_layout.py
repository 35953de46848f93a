"""Unit tests are laid out as the code is: the folder of a test names the package that it is about."""

from __future__ import annotations

import pytest
from tests.architecture.test_tree import ROOT

CODE = {
    "cli": "cli/fairlead_cli",
    "gateway": "runtime/fairlead_gateway",
    "operator": "operator/fairlead_operator",
    "ray_node": "runtime/fairlead_ray_node",
    "runtime": "runtime/fairlead_runtime",
    "spans": "runtime/fairlead_spans",
}


@pytest.mark.parametrize("name", CODE)
def test_a_unit_test_is_in_the_folder_of_its_package(name: str) -> None:
    tests = ROOT / "tests" / "unit" / name
    folders = {path.parent.relative_to(tests) for path in tests.rglob("test_*.py")}
    assert folders
    missing = sorted(str(folder) for folder in folders if not (ROOT / CODE[name] / folder).is_dir())
    assert missing == [], f"{CODE[name]} has no such folder"
