"""The tree keeps its shape: what a reviewer would have to remember, a test remembers."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
SOURCE_FOLDERS = ("operator", "runtime", "cli", "release", "examples", "benchmarks")
FILE_LINES_MAX = 400
FUNCTION_LINES_MAX = 60
TEST_FILE_LINES_MAX = 800


def python_files(*folders: str) -> Iterator[Path]:
    for folder in folders:
        yield from sorted((ROOT / folder).rglob("*.py"))


def tracked_files() -> list[str]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True, text=True)
    return [name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


def run_tool(*args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", *args], cwd=ROOT, capture_output=True, text=True)


def test_imports_follow_the_contracts() -> None:
    # In a process of its own: its logging set-up disables every logger that is there already.
    linter = Path(sys.executable).parent / "lint-imports"
    checked = subprocess.run([linter, "--no-cache"], cwd=ROOT, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_ruff_finds_nothing() -> None:
    checked = run_tool("ruff", "check", ".")
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_every_file_is_formatted() -> None:
    checked = run_tool("ruff", "format", "--check", ".")
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.timeout(1200)
def test_types_hold_under_mypy_strict() -> None:
    checked = run_tool("mypy")
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_no_source_folder_is_itself_a_package() -> None:
    # A package called `operator` would shadow the standard library's.
    found = [folder for folder in ("operator", "runtime", "cli") if (ROOT / folder / "__init__.py").exists()]
    assert found == []


def test_source_files_stay_short_enough_to_read() -> None:
    long = {
        str(p.relative_to(ROOT)): n
        for p in python_files(*SOURCE_FOLDERS)
        if (n := len(p.read_text().splitlines())) > FILE_LINES_MAX
    }
    assert long == {}


def test_test_files_stay_short_enough_to_read() -> None:
    long = {
        str(p.relative_to(ROOT)): n
        for p in python_files("tests")
        if (n := len(p.read_text().splitlines())) > TEST_FILE_LINES_MAX
    }
    assert long == {}


def test_functions_stay_short_enough_to_read() -> None:
    long = {}
    for path in python_files(*SOURCE_FOLDERS):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                if lines >= FUNCTION_LINES_MAX:
                    long[f"{path.relative_to(ROOT)}:{node.name}"] = lines
    assert long == {}


def test_no_module_has_a_name_without_meaning() -> None:
    vague = {"utils.py", "util.py", "helpers.py", "common.py", "misc.py"}
    assert [str(p.relative_to(ROOT)) for p in python_files(*SOURCE_FOLDERS, "tests") if p.name in vague] == []


def test_no_wait_swallows_a_cancellation() -> None:
    """Python 3.11's ``wait_for`` returns where it is cancelled as its result comes: a loop around it never ends.

    Source: https://github.com/python/cpython/issues/86296
    """
    everything = python_files(*SOURCE_FOLDERS, "tests", "benchmarks", "examples")
    found = [str(p.relative_to(ROOT)) for p in everything if "asyncio.wait_" + "for(" in p.read_text()]
    assert found == [], "use asyncio.timeout"


def locked_versions() -> dict[str, str]:
    pairs = re.findall(
        r"^([A-Za-z0-9_.-]+)(?:\[[^\]]*\])?==([^ \\;]+)", (ROOT / "requirements.lock").read_text(), re.MULTILINE
    )
    return {canonicalize_name(name): version for name, version in pairs}


def test_the_lock_satisfies_every_declared_range() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    declared = list(project["project"]["dependencies"])
    for extra in project["project"]["optional-dependencies"].values():
        declared += extra
    declared += project["dependency-groups"]["dev"]
    locked = locked_versions()
    broken = []
    for text in declared:
        requirement = Requirement(text)
        version = locked.get(canonicalize_name(requirement.name))
        if version is None or not requirement.specifier.contains(version, prereleases=True):
            broken.append(f"{text}: locked {version}")
    assert broken == []


def test_no_registry_host_or_machine_path_is_in_the_tree() -> None:
    hosts = re.compile(
        "|".join(
            [
                "pypi" + r"\.org",
                "files" + r"\.pythonhosted",
                "proxy" + r"\.golang",
                "registry" + r"\.npmjs",
                r"deb\." + "debian",
            ]
        )
    )
    machine = re.compile("|".join(["/ro" + "ot/", "/wo" + "rk/", "/opt/" + "wheels"]))
    found = []
    for name in tracked_files():
        text = (ROOT / name).read_bytes()
        if b"\0" in text:
            continue
        for number, line in enumerate(text.decode("utf-8", "replace").splitlines(), 1):
            if hosts.search(line) or machine.search(line):
                found.append(f"{name}:{number}: {line[:120]}")
    assert found == []


def test_no_binary_is_in_the_tree() -> None:
    allowed = {".png"}
    found = [n for n in tracked_files() if Path(n).suffix not in allowed and b"\0" in (ROOT / n).read_bytes()[:8192]]
    assert found == []


DOCUMENTS = (
    "README.md",
    "CONTRIBUTING.md",
    "operator/README.md",
    *(f"docs/{name}.md" for name in ("tutorial", "concepts", "rollouts-guide", "rollouts", "operations", "runtime")),
    *(f"docs/{name}.md" for name in ("monitoring", "metrics", "runbook", "gitops")),
)
PATH = re.compile(r"`((?:operator|runtime|cli|charts|crds|docs|examples|tests|benchmarks)/[A-Za-z0-9_./-]+)`")
LINK = re.compile(r"\]\((?!https?:)([^)#]+)(?:#[^)]*)?\)")


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_path_and_link_of_a_document_exists(name: str) -> None:
    text = (ROOT / name).read_text()
    missing = [path for path in PATH.findall(text) if not (ROOT / path).exists()]
    missing += [link for link in LINK.findall(text) if not ((ROOT / name).parent / link).exists()]
    assert missing == []


def test_the_readme_says_where_things_are() -> None:
    assert len(PATH.findall((ROOT / "README.md").read_text())) > 10
