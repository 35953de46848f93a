"""How the chapters of a story reach the cluster: kubectl, the models, the counting client."""

from __future__ import annotations

import contextlib
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import yaml

from fairlead_cli import load
from fairlead_cli.demo import asking, narration, watching
from fairlead_cli.local import cluster

_LOAD_CONNECTIONS = 8
_CLASSES = 10
"""Of the digits."""
_BEFORE = 500
"""Requests that the counting client sends before something changes."""


class Scene:
    """One local cluster, seen as a person would see it."""

    def __init__(self, local: cluster.LocalCluster, narrator: narration.Narrator) -> None:
        self._local = local
        self._narrator = narrator

    def kubectl(self, *arguments: str) -> str:
        """What kubectl printed.

        Raises:
            DemoFailed: it failed.
        """
        done = self._local.kubectl(*arguments, "-n", self._local.namespace)
        if done.returncode != 0:
            raise narration.DemoFailed(f"kubectl {' '.join(arguments)}: {done.stderr.strip()}")
        return done.stdout

    def apply(self, manifest: Mapping[str, Any], path: pathlib.Path) -> str:
        """Write the manifest to this file and apply it; what kubectl printed."""
        path.write_text(yaml.safe_dump(dict(manifest), sort_keys=False))
        return self.kubectl("apply", "-f", str(path)).strip()

    def model(self, name: str) -> watching.Model:
        return watching.Model(self._local, self._narrator, name)

    def load_settings(self, model: str, rows: npt.NDArray[np.generic], *, rate: float) -> load.Settings:
        """A run of the counting client that asks for a digit in each request, so many requests a second."""
        with contextlib.closing(asking.Asker(self._local.gateway_url)) as asker:
            bodies = asker.single_bodies(model, rows)
        return load.Settings(
            url=self._local.gateway_url,
            model=model,
            bodies=bodies,
            connections=_LOAD_CONNECTIONS,
            rate_limit=rate,
            expect_shape=(1, _CLASSES),
        )


def require_no_failures(report: load.Report, event_name: str) -> None:
    """Raises DemoFailed with the report's summary if a request failed."""
    if report.failed:
        raise narration.DemoFailed(f"requests failed during {event_name}:\n{report.summary()}")


def count_while(
    settings: load.Settings, change: Callable[[], Mapping[str, Any]], event_name: str, *, afterwards: int
) -> tuple[Mapping[str, Any], load.Report]:
    """What ``change`` returns, the object with another stable revision, and the counts of the requests meanwhile.

    The client goes on until the new stable revision has answered so many more.

    Raises:
        DemoFailed: a request failed.
    """
    with load.background(settings) as run:
        run.wait_until(lambda seen: seen.requests > _BEFORE, timeout_s=60)
        found = change()
        after = watching.stable_revision(found)
        answered = run.progress().revisions.get(after, 0)
        run.wait_until(lambda seen: seen.revisions.get(after, 0) > answered + afterwards, timeout_s=60)
        report = run.stop()
    require_no_failures(report, event_name)
    return found, report


def describe(report: load.Report) -> str:
    """How many requests failed, of how many, and who answered."""
    split = ", ".join(f"{name} {each.count:,}" for name, each in report.revisions.items())
    return f"{report.failed} failed of {report.requests:,} requests ({split})"
