"""`status --watch` where the output is no terminal: one line or document for each change, until the reader is gone."""

from __future__ import annotations

import json
import os
import select
from collections.abc import Callable
from typing import TextIO

import rich.text
import rich.tree
import yaml

from fairlead_cli.plugin import model_view, tree
from fairlead_cli.plugin.console import Output


def follow(read: Callable[[], model_view.Model], output: Output, out: TextIO, pause: Callable[[], bool]) -> None:
    """Writes what ``read`` shows, first and after each change, until ``pause`` finds the reader gone (False).

    JSON is one document in each line, YAML documents are separated by ``---``.
    """
    written = None
    is_there = True
    while is_there:
        if (text := _render(read(), output)) != written:
            try:
                out.write(text)
                out.flush()
            except BrokenPipeError:
                _discard(out)
                return
            written = text
        is_there = pause()
    _discard(out)


def wait_for_reader(out: TextIO, seconds: float) -> bool:
    """Waits for ``seconds``; False as soon as ``out`` is a pipe or socket that nobody reads any more."""
    poll = select.poll()
    poll.register(out, 0)  # POLLERR and POLLHUP are always reported
    return not poll.poll(seconds * 1000)


def _discard(out: TextIO) -> None:
    """What is still buffered goes nowhere, so that the end of the process does not fail to write it."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, out.fileno())
    os.close(nowhere)


def _render(model: model_view.Model, output: Output) -> str:
    match output:
        case Output.JSON:
            return json.dumps(tree.facts(model)) + "\n"
        case Output.YAML:
            return "---\n" + yaml.safe_dump(tree.facts(model), sort_keys=False)
        case Output.TEXT:
            return "; ".join(_labels(tree.draw(model))) + "\n"


def _labels(branch: rich.tree.Tree) -> list[str]:
    """The branches in their order, each in one line of printable characters."""
    plain = rich.text.Text.from_markup(str(branch.label)).plain
    line = " ".join("".join(each if each.isprintable() else " " for each in plain).split())
    return [line, *(label for child in branch.children for label in _labels(child))]
