"""``make test``: gets the binaries, then runs the whole suite; pytest's own closing lines come last.

One pytest run decides the exit code, unless it has so few failures that they get a second attempt. What waits most (the
end-to-end stories, on two clusters) begins first and in processes of its own, and the rest goes on beside it: most of
the time of each is spent waiting. Files are given out whole and in order, so whatever starts real parts comes before
the many short files, which fill the end evenly.
"""

from __future__ import annotations

import os
import sys

import pytest
import rich.console
from tests.support import go_programs, prometheus_binary, second_attempt

from fairlead_cli.local import binaries, progress

FOLDERS = ("architecture", "e2e", "integration", "contract", "corpus", "unit", "scenarios")
PROCESSES = 4
"""Twice the processors of the continuous check: of each process more than half the time is spent waiting."""
GOGC = "400"
"""Of API servers and etcd, in percent: they have memory to spare, and collect garbage a quarter as often."""


def main() -> int:
    # Outside of any test: building and fetching may take longer than a test.
    reporter = progress.RichReporter(rich.console.Console())
    binaries.find((*binaries.CONTROL_PLANE, "helm"), binaries.Sources.from_environment(), reporter)
    for program in (prometheus_binary.PACKAGE, prometheus_binary.PROMTOOL):
        reporter.step(f"{program}: {prometheus_binary.obtain(program)}")
    for module in ("gitops", "kube-score", "kubeconform"):
        reporter.step(f"{module}: {go_programs.obtain(module, reporter)}")
    os.environ.setdefault("GOGC", GOGC)
    folders = [f"tests/{folder}" for folder in FOLDERS]
    split = [f"--numprocesses={PROCESSES}", "--dist=loadscope", "--no-loadscope-reorder"]
    failures = second_attempt.Failures()
    code = int(pytest.main(["--durations=15", *split, *folders, *sys.argv[1:]], plugins=[failures]))
    tier = [option for option in sys.argv[1:] if option == "--nightly"]
    return second_attempt.run_again(code, failures.tests, tier)


if __name__ == "__main__":
    sys.exit(main())
