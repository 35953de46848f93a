"""What the tests counted, as the tables of ``docs/measurements.md``: printed at the end and kept in ``build/``."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Mapping

FOLDER = pathlib.Path(__file__).resolve().parents[2] / "build" / "e2e-results"
"""One file for each process that the suite is split over."""
Cell = str | int | float


class Results:
    """Rows by table; a row maps column to value, and a table has every column that one of its rows has."""

    def __init__(self) -> None:
        self._tables: dict[str, list[Mapping[str, Cell]]] = {}

    def add(self, table: str, row: Mapping[str, Cell]) -> None:
        self._tables.setdefault(table, []).append(row)

    def markdown(self) -> str:
        """The tables as Markdown; empty when nothing was measured."""
        return "\n\n".join(f"### {name}\n{_table(rows)}" for name, rows in self._tables.items())

    def keep(self) -> None:
        """Write what was measured to ``build/``."""
        if self._tables:
            FOLDER.mkdir(parents=True, exist_ok=True)
            name = os.environ.get("PYTEST_XDIST_WORKER", "all")
            (FOLDER / f"{name}.md").write_text(self.markdown() + "\n", encoding="utf-8")


def _table(rows: list[Mapping[str, Cell]]) -> str:
    columns = list(dict.fromkeys(column for row in rows for column in row))
    lines = [columns, ["---"] * len(columns), *([_cell(row.get(column, "")) for column in columns] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _cell(value: Cell) -> str:
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.2f}" if isinstance(value, float) else value


RESULTS = Results()
