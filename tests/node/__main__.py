"""``make e2e``: gets binaries and packages, then runs what needs a node with pods. It needs Linux and root.

In one process: there is one node, and its pods share two cores.
"""

from __future__ import annotations

import sys

import pytest
import rich.console

from fairlead_cli.local import binaries, paths, progress
from fairlead_cli.local.node import debian


def main() -> int:
    # Outside of any test: building takes longer than a test may.
    reporter = progress.RichReporter(rich.console.Console())
    names = (*binaries.CONTROL_PLANE, *binaries.NODE, *binaries.ON_A_NODE)
    binaries.find(names, binaries.Sources.from_environment(), reporter)
    debian.obtain(paths.cache_dir(), reporter)
    return int(pytest.main(["--durations=15", "--timeout=1800", "tests/node", *sys.argv[1:]]))


if __name__ == "__main__":
    sys.exit(main())
