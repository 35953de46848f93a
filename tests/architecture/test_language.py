"""One vocabulary: names and reference texts use the words of docs/glossary.md."""

from __future__ import annotations

import ast
import collections
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.architecture import banned_words
from tests.architecture.test_tree import ROOT, python_files

PACKAGES = (
    "operator/fairlead_operator",
    "runtime/fairlead_gateway",
    "runtime/fairlead_ray_node",
    "runtime/fairlead_runtime",
    "runtime/fairlead_spans",
    "cli/fairlead_cli",
    "benchmarks",
    "examples",
    "tests",
)
KNOWN = ROOT / "tests" / "architecture" / "banned_names.txt"
FOLDERS = ("docs", "operator", "examples", "benchmarks", "tests")
GLOSSARY = ROOT / "docs" / "glossary.md"
PLAIN_DOCS = sorted(
    str(path.relative_to(ROOT))
    for path in (*ROOT.glob("*.md"), *(found for folder in FOLDERS for found in (ROOT / folder).rglob("*.md")))
    if path != GLOSSARY
)
PLAIN_PACKAGES = ("api", "desired", "evidence", "plan", "state", "status")
"""The operator's pure packages: no banned word in their names, comments, docstrings and messages."""
TERMS_MIN = 30


def names_in(path: Path) -> Iterator[str]:
    """What a file defines: functions, their parameters, and the variables that it assigns."""
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.arg(arg=name):
                yield name
            case ast.Name(id=name, ctx=ast.Store()):
                yield name


def banned_in(package: str) -> collections.Counter[str]:
    found = (name.strip("_") for path in python_files(package) for name in names_in(path))
    return collections.Counter(name for name in found if name in banned_words.NAMES)


def known() -> dict[tuple[str, str], int]:
    rows = (line.split() for line in KNOWN.read_text().splitlines() if line and not line.startswith("#"))
    return {(package, name): int(count) for package, name, count in rows}


@pytest.mark.parametrize("package", PACKAGES)
def test_no_new_name_is_banned(package: str) -> None:
    allowed = known()
    more = {
        name: f"{count}, allowed: {allowed.get((package, name), 0)}"
        for name, count in banned_in(package).items()
        if count > allowed.get((package, name), 0)
    }
    assert more == {}, "docs/glossary.md says what to write instead; tests/architecture/banned_names.txt only shrinks"


@pytest.mark.parametrize("name", PLAIN_DOCS)
def test_no_document_holds_a_banned_word(name: str) -> None:
    assert banned_words.in_text((ROOT / name).read_text()) == []


@pytest.mark.parametrize("package", PLAIN_PACKAGES)
def test_the_pure_packages_of_the_operator_use_no_banned_word(package: str) -> None:
    found = {
        str(path.relative_to(ROOT)): words
        for path in python_files(f"operator/fairlead_operator/{package}")
        if (words := banned_words.in_text(path.read_text()))
    }
    assert found == {}
    assert banned_in(f"operator/fairlead_operator/{package}") == {}


def glossary() -> dict[str, str]:
    rows = re.findall(r"^\| \*\*(.+?)\*\* \| (.+?) \|$", GLOSSARY.read_text(), re.MULTILINE)
    return dict(rows)


def test_the_glossary_has_the_terms_of_the_field() -> None:
    terms = glossary()
    assert len(terms) >= TERMS_MIN
    for term in ("desired", "observed", "stable", "candidate", "revision", "promote", "abort", "quarantine", "proof"):
        assert term in terms


def test_a_definition_is_a_sentence_without_a_banned_word() -> None:
    for term, text in glossary().items():
        assert text.endswith("."), term
        assert banned_words.in_text(text) == [], term
