"""``python -m benchmarks.peers.run_server MODULE ASKED``: one server, in the Python of its own environment."""

from __future__ import annotations

import importlib
import sys

from benchmarks.peers import peer


def main(module: str, asked: str) -> None:
    importlib.import_module(f"benchmarks.peers.{module}").serve(peer.Asked.from_json(asked))


if __name__ == "__main__":
    main(*sys.argv[1:])
