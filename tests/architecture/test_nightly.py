"""The document names each nightly test, and for each the daily test of the same code."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TESTS = ROOT / "tests"
DOCUMENT = ROOT / "docs" / "development" / "tests.md"
ROW = re.compile(r"^\| `([\w/]+\.py)::(test_\w+)` \| [^|]+ \| [^|]+ \|$", re.MULTILINE)


def _named() -> list[tuple[str, str]]:
    """File and function of each row of the table."""
    return ROW.findall(DOCUMENT.read_text(encoding="utf-8"))


def _marked(path: Path) -> Iterator[str]:
    """The functions that are nightly as a whole or in some rows, by their decorators."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) or not node.name.startswith("test_"):
            continue
        if "mark.nightly" in " ".join(map(ast.unparse, node.decorator_list)):
            yield node.name


def test_the_table_names_each_nightly_test() -> None:
    files = [path for path in TESTS.rglob("test_*.py") if path.parent.name != "architecture"]
    marked = {(str(path.relative_to(TESTS)), name) for path in files for name in _marked(path)}
    # Which entries of the corpus are nightly is a field of each.
    corpus = [each for each in _named() if each[0].startswith("corpus/")]
    assert sorted(_named()) == sorted({*marked, *corpus})
    assert len(corpus) == 1
    assert len(marked) > 20


def test_the_files_of_the_table_exist() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    table = text[text.index("| nightly test |") :].split("\n\n")[0]
    names = re.findall(r"`((?:e2e|integration|unit|contract|corpus)/[\w/]+\.py)(?:::(test_\w+))?`", table)
    missing = [name for name, _ in names if not (TESTS / name).is_file()]
    functions = [(name, test) for name, test in names if test and f"def {test}(" not in (TESTS / name).read_text()]
    scenarios = [
        each for each in re.findall(r"`scenarios/(\w+)`", table) if not (TESTS / f"scenarios/{each}.in.yaml").is_file()
    ]
    assert (missing, functions) == ([], [])
    assert [each for each in scenarios if not (TESTS / f"scenarios/{each}.in.yaml").is_file()] == []
