"""What Fairlead's own images are made of stays where it is while an image is built of it."""

from __future__ import annotations

import pathlib
import subprocess
import sys
import zipfile

import pytest

from fairlead_cli.local import progress
from fairlead_cli.local.node import debian, product_images

PROGRAMS = "[console_scripts]\nfairlead-gateway = fairlead_gateway.main:main\n"


@pytest.fixture
def materials(tmp_path: pathlib.Path) -> product_images.Materials:
    programs = debian.Programs(tree=tmp_path / "programs")
    return product_images.Materials(cache=tmp_path, programs=programs, reporter=progress.Silent())


def test_a_wheel_stays_while_another_command_makes_one_of_other_sources(
    materials: product_images.Materials, monkeypatch: pytest.MonkeyPatch
) -> None:
    def make_wheel(_: product_images.Materials, *argv: str) -> None:
        (folder,) = (each.partition("=")[2] for each in argv if each.startswith("--directory="))
        with zipfile.ZipFile(pathlib.Path(folder, "fairlead-0.1.0-py3-none-any.whl"), "w") as wheel:
            wheel.writestr("fairlead_gateway/__init__.py", sources)
            wheel.writestr("fairlead_operator/__init__.py", "not for this image")
            wheel.writestr("fairlead-0.1.0.dist-info/METADATA", "Name: fairlead\n\nA description")
            wheel.writestr("fairlead-0.1.0.dist-info/entry_points.txt", PROGRAMS)
            wheel.writestr("fairlead-0.1.0.dist-info/RECORD", "")

    monkeypatch.setattr(product_images.Materials, "_run", make_wheel)
    sources = "one"
    first = materials._own_wheel(["fairlead_gateway"])
    sources = "other"
    second = materials._own_wheel(["fairlead_gateway"])
    assert first != second
    assert first.read_bytes() != second.read_bytes()
    assert first.name == second.name
    with zipfile.ZipFile(first) as made:
        assert made.read("fairlead_gateway/__init__.py") == b"one"


def test_an_image_gets_the_packages_that_it_runs_and_their_programs(
    materials: product_images.Materials, tmp_path: pathlib.Path
) -> None:
    """Of the real wheel: what an installer checks is there, and another package or README makes no other image."""
    wheel = materials._own_wheel(product_images.NAMES["gateway"])
    with zipfile.ZipFile(wheel) as made:
        assert {each.partition("/")[0] for each in made.namelist()} == {
            "fairlead_gateway",
            "fairlead_spans",
            "fairlead-0.1.0.dist-info",
        }
        programs = made.read("fairlead-0.1.0.dist-info/entry_points.txt").decode()
        assert "# Fairlead" not in made.read("fairlead-0.1.0.dist-info/METADATA").decode()
    assert programs.split() == ["[console_scripts]", "fairlead-gateway", "=", "fairlead_gateway.main:main"]
    uv = pathlib.Path(sys.executable).with_name("uv")
    target = tmp_path / "installed"
    subprocess.run([uv, "pip", "install", "--quiet", "--no-deps", "--offline", f"--target={target}", wheel], check=True)
    assert (target / "fairlead_gateway" / "main.py").is_file()
