"""``make hostile``: hostile requests of four kinds at a real gateway and replica; exit status 1 if anything is wrong.

Each answer is judged by itself (``senders``). Meanwhile a good client's requests are all answered rightly, no process
ends, and none grows once a quarter of the requests was sent.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import contextlib
import itertools
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from tests.hostile import mutations, senders, world

KINDS: dict[str, Callable[[int], senders.Sender]] = {
    "json": lambda port: senders.Http(port, mutations.draw_json),
    "binary": lambda port: senders.Http(port, mutations.draw_binary),
    "grpc": senders.Grpc,
    "http": senders.Streams,
}
FAULTS_SHOWN = 20
FAULT_CHARS_SHOWN = 800


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.hostile")
    parser.add_argument("--requests", type=int, default=20_000, help="of each kind")
    parser.add_argument("--kind", choices=KINDS, action="append", help="default: all of them, one after the other")
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    faults: list[str] = []
    heads = ("kind", "requests", "answers", "faults", "good requests meanwhile", "memory", "s")
    print(f"| {' | '.join(heads)} |\n|{' --- |' * len(heads)}")
    with tempfile.TemporaryDirectory() as folder, world.running(Path(folder)) as found:
        for kind in options.kind or KINDS:
            faults += _run(found, kind, options)
        faults += found.good.faults
    for fault in faults[:FAULTS_SHOWN]:
        print(fault[:FAULT_CHARS_SHOWN], file=sys.stderr)
    print(f"{len(faults)} faults")
    return 1 if faults else 0


def _run(found: world.World, kind: str, options: argparse.Namespace) -> list[str]:
    """Sends all requests of a kind, prints its row, and returns what was wrong with its answers."""
    answers: Counter[str] = Counter()
    faults: list[str] = []
    good, begun_s = found.good.requests, time.monotonic()
    for share in (options.requests // 4, options.requests - options.requests // 4):
        each = _send(found.port, kind, share, options)
        answers += each[0]
        faults += each[1]
        if share == options.requests // 4:
            found.note_memory()
    row = ", ".join(f"{count} {name}" for name, count in answers.most_common(8))
    print(
        f"| {kind} | {answers.total()} | {row} | {len(faults)} | {found.good.requests - good} | "
        f"{found.describe_memory()} | {time.monotonic() - begun_s:.0f} |",
        flush=True,
    )
    return [*faults, *found.find_faults()]


def _send(port: int, kind: str, count: int, options: argparse.Namespace) -> tuple[Counter[str], list[str]]:
    numbers, lock = itertools.count(), threading.Lock()

    def run(client: int) -> tuple[Counter[str], list[str]]:
        chosen = random.Random(f"{options.seed} {kind} {count} {client}")
        answers: Counter[str] = Counter()
        faults: list[str] = []
        with contextlib.closing(KINDS[kind](port)) as sender:
            while True:
                with lock:
                    number = next(numbers)
                if number >= count:
                    return answers, faults
                answer, fault = sender.send(chosen, number)
                answers[answer] += 1
                faults += [] if fault is None else [f"{kind}: {fault}"]

    with concurrent.futures.ThreadPoolExecutor(options.clients) as pool:
        ended = list(pool.map(run, range(options.clients)))
    return sum((each[0] for each in ended), Counter()), [fault for each in ended for fault in each[1]]


if __name__ == "__main__":
    sys.exit(main())
