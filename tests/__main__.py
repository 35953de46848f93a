"""``make test``: the whole suite in its stages, cheapest first; pytest's own closing lines come last.

One pytest run decides the exit code. It is split by nothing but the order of the folders, so that a broken import is
told in seconds and the real processes start only after the pure code was seen to hold.
"""

from __future__ import annotations

import sys

import pytest

STAGES = ("architecture", "unit", "scenarios", "contract", "integration", "e2e")


def main() -> int:
    folders = [f"tests/{stage}" for stage in STAGES]
    return int(pytest.main(["--durations=15", *folders, *sys.argv[1:]]))


if __name__ == "__main__":
    sys.exit(main())
