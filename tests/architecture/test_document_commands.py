"""The commands by which documents name a test still select one: a renamed test takes its document along."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from tests.architecture.test_tree import ROOT

COMMAND = re.compile(r"`([^`]*pytest [^`]*)`")
SELECTION = re.compile(r"((?:tests/\S+\s*)+)-k\s+(\"[^\"]*\"|[^\s`]+)")
OPERATORS = ("or", "and", "not")


def names_in(paths: str) -> list[str]:
    """The names of the files and test functions below these paths."""
    found = (ROOT / path for path in paths.split())
    files = [file for path in found for file in ([path] if path.suffix == ".py" else path.rglob("test_*.py"))]
    return [name for file in files for name in (file.stem, *functions_in(file))]


def functions_in(file: Path) -> list[str]:
    tree = ast.walk(ast.parse(file.read_text()))
    return [node.name for node in tree if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]


def test_each_word_of_a_selection_is_part_of_a_test_name() -> None:
    missing = [
        f"{document.relative_to(ROOT)}: {word!r} in {paths.strip()}"
        for document in (*(ROOT / "docs").rglob("*.md"), ROOT / "CONTRIBUTING.md", ROOT / "README.md")
        for command in COMMAND.findall(document.read_text())
        for paths, words in SELECTION.findall(command)
        for word in re.findall(r"[^\s()\"]+", words)
        if word not in OPERATORS and not any(word in name for name in names_in(paths))
    ]
    assert missing == []
