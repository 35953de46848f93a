"""`kubectl fairlead status --watch` into a pipe: plain lines, one for each change, and a quiet end."""

from __future__ import annotations

import json
import os
from collections.abc import Callable

import pytest
import yaml
from tests.support.plugin_cluster import WorldCluster
from tests.support.virtual_world import VirtualWorld

from fairlead_cli.plugin import model_view, watching
from fairlead_cli.plugin.console import Output

NAME = "digits"


@pytest.fixture
def found() -> WorldCluster:
    world = VirtualWorld()
    world.apply(NAME, model={"uri": "file:///m/1", "version": "v1"})
    world.settle()
    return WorldCluster(world)


def written(found: WorldCluster, output: Output, *events: Callable[[], object]) -> str:
    """What is written into a pipe while these things happen, one between two looks."""
    rest = list(events)

    def happen() -> bool:
        if not rest:
            return False
        rest.pop(0)()
        return True

    reading, writing = os.pipe()
    with os.fdopen(reading) as reader, os.fdopen(writing, "w") as writer:
        watching.follow(lambda: model_view.read(found, NAME), output, writer, happen)
        return reader.read()  # the writer's end is no pipe any more, so this is all


def nothing() -> None:
    return None


def fail(found: WorldCluster, message: str) -> None:
    (ready,) = (each for each in found.world.models[NAME].status["conditions"] if each["type"] == "Ready")
    ready.update(status="False", reason="Failed", message=message)


def test_each_change_is_one_line_without_control_characters(found: WorldCluster) -> None:
    first, second = written(
        found, Output.TEXT, nothing, lambda: fail(found, "two\nlines \x1b[31m[red]"), nothing
    ).splitlines()
    assert first.startswith(f"{NAME} (default) Ready; stable revision 1 (")
    assert second.endswith("not ready: Failed: two lines [31m[red]")
    assert first.isprintable()
    assert second.isprintable()


def test_json_is_one_document_in_each_line(found: WorldCluster) -> None:
    lines = written(found, Output.JSON, nothing, lambda: fail(found, "a\nb")).splitlines()
    assert [json.loads(line)["ready"]["status"] for line in lines] == ["True", "False"]


def test_yaml_documents_are_separated(found: WorldCluster) -> None:
    documents = list(yaml.safe_load_all(written(found, Output.YAML, lambda: fail(found, "a\nb"))))
    assert [each["ready"]["status"] for each in documents] == ["True", "False"]


def test_a_closed_pipe_ends_the_watch_without_an_error(found: WorldCluster) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as writer:
        watching.follow(lambda: model_view.read(found, NAME), Output.TEXT, writer, lambda: True)
        # What is buffered is written when the file is closed, which must not fail either.


def test_a_reader_that_goes_ends_the_wait_for_the_next_change() -> None:
    reading, writing = os.pipe()
    with os.fdopen(writing, "w") as writer:
        assert watching.wait_for_reader(writer, 0.01)
        os.close(reading)
        assert not watching.wait_for_reader(writer, 3600)
