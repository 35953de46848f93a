"""Tables of the documents: a row that was added to the wrong table mostly has another number of cells."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
SEPARATOR = re.compile(r"^\|(?: *:?-+:? *\|)+$")


def _cells(row: str) -> int:
    """The number of cells of a row; a `|` that is escaped or in code is none of its borders."""
    without_code = re.sub(r"`[^`]*`", "", row)
    return len(re.split(r"(?<!\\)\|", without_code.strip().strip("|")))


def _misfits(text: str) -> list[str]:
    found, wanted = [], 0
    lines = text.splitlines()
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        if not line.startswith("|"):
            wanted = 0
        elif SEPARATOR.match(following):
            wanted = _cells(line)
        elif wanted and not SEPARATOR.match(line) and _cells(line) != wanted:
            found.append(line[:100])
    return found


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_each_row_has_the_cells_of_its_table(path: Path) -> None:
    assert _misfits(path.read_text(encoding="utf-8")) == []


def test_a_row_with_a_cell_too_many_is_found() -> None:
    table = "| a | b |\n| --- | --- |\n| 1 | `x | y` |\n| 1 | 2 | 3 |\n"
    assert _misfits(table) == ["| 1 | 2 | 3 |"]
