"""Measures the servers against each other, and writes a table, JSON and a plot: ``python -m benchmarks.peers``."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import itertools
import json
import os
import shlex
import signal
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.peers import bodies, environments, figures, goals, models, peer, plot, rounds, servers
from benchmarks.peers.figures import Case, Round

BASE = "uvicorn"
ATTEMPTS = 2
"""To start a server: on a busy machine Ray gives up after 30 s."""


@dataclass(slots=True)
class Results:
    """Of one run. ``absent`` says why a server was not measured, ``memory_mb`` is by model and server."""

    cases: dict[Case, list[Round]] = field(default_factory=dict)
    memory_mb: dict[str, dict[str, float]] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)


def main(arguments: Sequence[str] | None = None) -> int:
    """1 where a server that was asked for could not be measured."""
    flags = _parser().parse_args(arguments)
    # So that the servers end with this program.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    load_before = os.getloadavg()
    results = Results()
    names = list(_install(flags.servers, results.absent))
    try:
        for model in map(models.prepare, flags.models):
            with _serving(names, model, flags.encodings, results.absent) as ready:
                _measure_model(model, ready, flags, results)
    finally:
        # Also of a run that is interrupted: the cases that are complete.
        circumstances = {
            "command": shlex.join(["python", "-m", "benchmarks.peers", *(arguments or sys.argv[1:])]),
            "cores": os.cpu_count(),
            "load average before": [round(each, 1) for each in load_before],
            "load average after": [round(each, 1) for each in os.getloadavg()],
            "rounds": flags.rounds,
            "seconds": flags.seconds,
            "packages": {name: _packages(name) for name in names},
        }
        _write(results, circumstances, flags.out)
    return 1 if results.absent else 0


def _install(names: Sequence[str], absent: dict[str, str]) -> Iterator[str]:
    for name in names:
        try:
            environments.python_of(servers.find_peer(name))
        except environments.CannotInstall as error:
            absent[name] = str(error)
            print(f"{name} can't be installed: {error}", file=sys.stderr)
        else:
            yield name


@contextlib.contextmanager
def _serving(
    names: Sequence[str], model: models.Model, encodings: Sequence[str], absent: dict[str, str]
) -> Iterator[list[servers.Server]]:
    """Those that give right answers. They start one after the other, as each takes a processor meanwhile."""
    with contextlib.ExitStack() as running:
        folder = Path(running.enter_context(tempfile.TemporaryDirectory(prefix="fairlead-bench-")))
        ready = []
        for name in names:
            for attempt in range(ATTEMPTS):
                own = folder / f"{name}-{attempt}"
                try:
                    server = running.enter_context(_right(name, model, own, encodings))
                except (servers.CannotServe, bodies.WrongAnswer) as error:
                    absent[f"{name}, {model.name}"] = str(error)
                    print(f"{name} doesn't serve {model.name}: {error}", file=sys.stderr, flush=True)
                else:
                    absent.pop(f"{name}, {model.name}", None)
                    ready.append(server)
                    break
        yield ready


@contextlib.contextmanager
def _right(name: str, model: models.Model, folder: Path, encodings: Sequence[str]) -> Iterator[servers.Server]:
    with servers.started(name, model.name, folder, model.saved_model) as server:
        for encoding in set(encodings) & set(server.peer.encodings):
            servers.await_right_answers(server, bodies.build(model.name, model.heldout, rows=1, encoding=encoding))
        yield server


def _measure_model(
    model: models.Model, ready: Sequence[servers.Server], flags: argparse.Namespace, results: Results
) -> None:
    for case in _cases(model.name, flags):
        asked = bodies.build(model.name, model.heldout, rows=case.rows, encoding=case.encoding)
        able = [server for server in ready if case.encoding in server.peer.encodings]
        if able:
            results.cases[case] = rounds.measure(case, asked, able, rounds=flags.rounds, seconds=flags.seconds)
    results.memory_mb[model.name] = {server.name: server.pss_mb() for server in ready}


def _cases(model: str, flags: argparse.Namespace) -> Iterator[Case]:
    for rows, encoding in itertools.product(flags.rows, flags.encodings):
        for connections in flags.connections:
            yield Case(model=model, rows=rows, encoding=encoding, connections=connections)
        for rate in flags.rates:
            yield Case(model=model, rows=rows, encoding=encoding, connections=max(flags.connections), rate=rate)


def _packages(name: str) -> list[str]:
    listed = servers.find_peer(name).requirements
    if listed is None:
        return ["this repository, with requirements.lock"]
    lines = (environments.REQUIREMENTS / listed).read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def _write(results: Results, circumstances: Mapping[str, Any], out: Path) -> None:
    titles = {name: servers.find_peer(name).title for name in servers.NAMES}
    text = write_tables(results, titles, circumstances)
    print(text)
    out.mkdir(parents=True, exist_ok=True)
    (out / "peers.md").write_text(text + "\n", encoding="utf-8")
    (out / "peers.svg").write_text(plot.draw(results.cases, titles), encoding="utf-8")
    cases = [
        {
            **dataclasses.asdict(case),
            "rounds": [{name: dataclasses.asdict(one) for name, one in each.items()} for each in measured],
        }
        for case, measured in results.cases.items()
    ]
    kept = {"circumstances": circumstances, "absent": results.absent, "pss_mb": results.memory_mb, "cases": cases}
    (out / "peers.json").write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")


def write_tables(results: Results, titles: Mapping[str, str], circumstances: Mapping[str, Any]) -> str:
    """Markdown: the circumstances, a table for each case, the goals, memory, and what was not measured."""
    parts = ["\n".join(f"- {key}: {value}" for key, value in circumstances.items() if key != "packages")]
    for case, measured in results.cases.items():
        parts.append(f"### {case}\n{figures.table(measured, titles, BASE)}")
    parts.append(f"### Goals\n{goals.table(results.cases, titles)}")
    columns = list(results.memory_mb)
    lines = [f"| server | {' | '.join(columns)} |", "| --- " * (len(columns) + 1) + "|"]
    for name, title in titles.items():
        found = [results.memory_mb[model].get(name) for model in columns]
        if any(found):
            lines.append(f"| {title} | {' | '.join('-' if one is None else f'{one:,.0f}' for one in found)} |")
    parts.append("### Memory, PSS in MB, all processes of a server\n" + "\n".join(lines))
    parts += [f"Not measured: {name}: {reason}" for name, reason in results.absent.items()]
    return "\n\n".join(parts)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__)
    parser.add_argument("--servers", nargs="+", choices=servers.NAMES, default=list(servers.NAMES))
    parser.add_argument("--models", nargs="+", choices=sorted(bodies.INPUTS), default=["dense", "cnn", "lstm"])
    parser.add_argument("--rows", nargs="+", type=int, default=[1, 32])
    parser.add_argument("--encodings", nargs="+", choices=peer.ENCODINGS, default=list(peer.ENCODINGS))
    parser.add_argument("--connections", nargs="*", type=int, default=[1, 16, 64])
    parser.add_argument(
        "--rates", nargs="*", type=float, default=[500.0], help="requests a second, by an open loop, as cases besides"
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each server in each round")
    parser.add_argument("--out", type=Path, default=Path("build/benchmarks"), help="the folder of what is written")
    return parser


if __name__ == "__main__":
    sys.exit(main())
