"""``make e2e``: gets binaries and packages, then runs what needs a node with pods. It needs Linux and root.

In one process: there is one node, and its pods share two cores. ``--core`` runs the core path alone: install, predict,
canary, scale, uninstall, and the removal of the node. All other arguments are pytest's.
"""

from __future__ import annotations

import sys

import pytest
import rich.console
from tests.node import karpenter
from tests.support import go_programs

from fairlead_cli.local import binaries, paths, progress
from fairlead_cli.local.node import debian

ALL = ("tests/node",)
CORE = ("tests/node/test_interface.py", "tests/node/test_product.py")
USED_BY_CORE = ("helm", "kuberay-operator")


def main() -> int:
    arguments = [each for each in sys.argv[1:] if each != "--core"]
    chosen = ALL if arguments == sys.argv[1:] else CORE
    # Outside of any test: building takes longer than a test may.
    reporter = progress.RichReporter(rich.console.Console())
    names = (*binaries.CONTROL_PLANE, *binaries.NODE, *(binaries.ON_A_NODE if chosen == ALL else USED_BY_CORE))
    binaries.find(names, binaries.Sources.from_environment(), reporter)
    debian.obtain(paths.cache_dir(), reporter)
    for module in karpenter.MODULES if chosen == ALL else ():
        reporter.step(f"{module}: {go_programs.obtain(module, reporter)}")
    return int(pytest.main(["--durations=15", "--timeout=1800", *chosen, *arguments]))


if __name__ == "__main__":
    sys.exit(main())
