"""A release without images: checked by the programs that people would use, and equal when it is built again."""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import rich.console
import yaml
from release import __main__ as release
from release import version
from tests.support import chart

from fairlead_cli.local import binaries, progress

REPORTER = progress.RichReporter(rich.console.Console())


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("release")
    release.write(folder, node=None, reporter=REPORTER)
    return folder


def helm(*arguments: str) -> str:
    path = binaries.find(["helm"], binaries.Sources.from_environment(), REPORTER).path("helm")
    return subprocess.run([str(path), *arguments], capture_output=True, text=True, check=True).stdout


def test_it_holds_the_chart_the_wheel_and_their_checksums(made: Path) -> None:
    number = version.read()
    files = {f"fairlead-{number}.tgz", f"fairlead-{number}-py3-none-any.whl"}
    assert {path.name for path in made.iterdir()} == {*files, release.CHECKSUMS}
    checked = subprocess.run(["sha256sum", "--strict", "--check", release.CHECKSUMS], cwd=made, capture_output=True)
    assert checked.returncode == 0, checked.stderr
    assert len(checked.stdout.splitlines()) == len(files)


def test_the_archive_is_the_chart(made: Path) -> None:
    archive = str(made / f"fairlead-{version.read()}.tgz")
    helm("lint", "--strict", archive, *(f"--set={each}" for each in chart.IMAGES))
    flags = (f"--namespace={chart.SYSTEM}", *(f"--set={each}" for each in chart.IMAGES))
    rendered = [each for each in yaml.safe_load_all(helm("template", "fairlead", archive, *flags)) if each]
    assert rendered == chart.render()


def test_the_wheel_has_every_package_and_program(made: Path) -> None:
    number = version.read()
    with zipfile.ZipFile(made / f"fairlead-{number}-py3-none-any.whl") as wheel:
        folders = {name.partition("/")[0] for name in wheel.namelist()}
        packages = ("cli", "gateway", "operator", "ray_node", "runtime", "spans")
        assert folders == {*(f"fairlead_{each}" for each in packages), f"fairlead-{number}.dist-info"}
        programs = wheel.read(f"fairlead-{number}.dist-info/entry_points.txt").decode()
    for program in ("fairlead", "fairlead-operator", "fairlead-gateway", "kubectl-fairlead"):
        assert re.search(rf"^{program} = ", programs, re.MULTILINE)


def test_built_again_it_is_the_same(made: Path, tmp_path: Path) -> None:
    release.write(tmp_path, node=None, reporter=REPORTER)
    assert (tmp_path / release.CHECKSUMS).read_text() == (made / release.CHECKSUMS).read_text()


def test_a_folder_with_something_in_it_is_refused(made: Path) -> None:
    done = subprocess.run([sys.executable, "-m", "release", f"--into={made}"], capture_output=True, text=True)
    assert done.returncode == 2
    assert "isn't empty" in done.stderr


def test_a_chart_of_another_version_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "Chart.yaml").write_text("version: 0.0.1\nappVersion: 0.0.1\n")
    monkeypatch.setattr(version, "CHART", tmp_path)
    with pytest.raises(version.VersionsDiffer, match=r"Chart\.yaml has version: 0\.0\.1"):
        version.read()
