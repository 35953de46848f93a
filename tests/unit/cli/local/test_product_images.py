"""What Fairlead's own images are made of stays where it is while an image is built of it."""

from __future__ import annotations

import pathlib
import zipfile

import pytest

from fairlead_cli.local import progress
from fairlead_cli.local.node import debian, product_images


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
            wheel.writestr("source", sources)

    monkeypatch.setattr(product_images.Materials, "_run", make_wheel)
    sources = "one"
    first = materials._own_wheel()
    sources = "other"
    second = materials._own_wheel()
    assert first != second
    assert first.read_bytes() != second.read_bytes()
    assert first.name == second.name
