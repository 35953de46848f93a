"""A process that uses a model cache, for tests that need several, or one that can be killed.

`python -m tests.support.cache_user MODE CACHE BYTES_MAX URI…`; see `main` for the modes.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import sys
from pathlib import Path

from fairlead_runtime.model import cache, source
from fairlead_runtime.model.bounds import Bounds

BOUNDS = Bounds(bytes_max=100_000_000, total_s=60)
ROUNDS = 15


def main(mode: str, folder: str, bytes_max: str, *uris: str) -> None:
    kept = cache.Cache(Path(folder), bytes_max=int(bytes_max))
    match mode:
        case "hold":
            held = [source.fetch(uri, None, kept, BOUNDS) for uri in uris]
            print(len(held), flush=True)
            sys.stdin.read()
        case "die-while-removing":
            shutil.rmtree = _remove_one_file_and_die
            source.fetch(uris[0], None, kept, BOUNDS)
        case "die-while-fetching":
            source.digest.hash_path = lambda _path: _die()
            source.fetch(uris[0], None, kept, BOUNDS)
        case "come-and-go":
            _come_and_go(kept, uris)


def _come_and_go(kept: cache.Cache, uris: tuple[str, ...]) -> None:
    for _ in range(ROUNDS):
        uri = random.choice(uris)
        fetched = source.fetch(uri, None, kept, BOUNDS)
        original = Path(uri.removeprefix("file://"))
        assert (fetched.path / "saved_model.pb").read_bytes() == (original / "saved_model.pb").read_bytes()
        fetched.lease.close()
    print(len(kept.evicted))


def _remove_one_file_and_die(folder: Path, **_: object) -> None:
    if "gone" in folder.name:
        next(path for path in folder.rglob("*") if path.is_file()).unlink()
        _die()


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main(*sys.argv[1:])
