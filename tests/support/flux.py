"""Flux's source-controller and kustomize-controller as processes of one namespace, built from their Go modules."""

from __future__ import annotations

import http
import itertools
import json
import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import rich.console
import yaml
from tests.support import go_programs
from tests.support.free_ports import free_ports
from tests.support.kube_api import KubeApi, Object
from tests.support.until import until

from fairlead_cli.local import cluster, loopback, progress

ROOT = Path(__file__).resolve().parents[2]
GUIDE = ROOT / "docs" / "gitops.md"
MODULE = "flux"
SOURCE, KUSTOMIZE = "source-controller", "kustomize-controller"
PATHS = {
    "GitRepository": "/apis/source.toolkit.fluxcd.io/v1/namespaces/{namespace}/gitrepositories/{name}",
    "Kustomization": "/apis/kustomize.toolkit.fluxcd.io/v1/namespaces/{namespace}/kustomizations/{name}",
}
NAME = "models"
"""Of the GitRepository and of the Kustomization."""
REQUESTED_AT = "reconcile.fluxcd.io/requestedAt"
"""What ``flux reconcile`` and Flux's webhook receiver write."""


class Flux:
    """The objects of the guide, which follow one repository, and the two controllers that act on them."""

    def __init__(self, kubernetes: cluster.LocalCluster, namespace: str, folder: Path, *, gates: str = "") -> None:
        """``gates`` are feature gates of kustomize-controller."""
        self._kubernetes = kubernetes
        self._namespace = namespace
        self._folder = folder
        self._gates = gates
        self._api = KubeApi(kubernetes.kubeconfig, namespace)
        self._processes: list[subprocess.Popen[bytes]] = []
        self._requests = itertools.count(1)

    def __enter__(self) -> Self:
        programs = go_programs.obtain(MODULE, progress.RichReporter(rich.console.Console()))
        for name in (SOURCE, KUSTOMIZE):
            crds = go_programs.dependency(MODULE, f"github.com/fluxcd/{name}") / "config" / "crd" / "bases"
            self._kubectl("apply", "--server-side", "--filename", str(crds))
        self._kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=100s")
        storage, *others = free_ports(5)
        artifacts = (f"--storage-addr=127.0.0.1:{storage}", f"--storage-adv-addr=127.0.0.1:{storage}")
        stored = self._folder / "artifacts"
        stored.mkdir(parents=True)
        self._start(programs / SOURCE, others[:2], (f"--storage-path={stored}", *artifacts))
        self._start(programs / KUSTOMIZE, others[2:], (f"--feature-gates={self._gates}",) if self._gates else ())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self._processes:
            process.kill()
            process.wait()
        self._api.close()

    def follow(self, url: str) -> None:
        """Create the GitRepository and the Kustomization of the guide, in this namespace and for this repository."""
        made = guide_objects()
        for each in made:
            each["metadata"]["namespace"] = self._namespace
        made[0]["spec"]["url"] = url
        made[1]["spec"]["targetNamespace"] = self._namespace
        self._kubectl("create", "--filename=-", text=yaml.safe_dump_all(made))

    def fetch(self) -> None:
        """Ask Flux to read the repository now, as its webhook receiver does at a push, and wait until it has."""
        self._request("GitRepository")

    def reconcile(self) -> None:
        """Ask for one more reconcile of the Kustomization, as ``flux reconcile`` does, and wait for its end."""
        self._request("Kustomization")

    def kustomization(self) -> dict[str, Any]:
        return dict(self._get("Kustomization"))

    def condition(self, kind: str) -> dict[str, Any]:
        """A condition of the Kustomization; empty while it has none of this type."""
        found = [each for each in self.kustomization()["status"].get("conditions", ()) if each["type"] == kind]
        return found[0] if found else {}

    def attempted(self) -> str:
        """The hash of the commit that was applied last, healthy or not."""
        return _commit(self.kustomization()["status"].get("lastAttemptedRevision", ""))

    def healthy(self) -> str:
        """The hash of the last commit whose objects all passed the health check."""
        return _commit(self.kustomization()["status"].get("lastAppliedRevision", ""))

    def until_ready(self, commit: str) -> None:
        """Wait until the Kustomization is Ready with this commit."""
        until(
            lambda: self.healthy() == commit and self.condition("Ready").get("status") == "True",
            f"the Kustomization is ready with {commit}",
            explain=self.explain,
        )

    def applied(self) -> list[Mapping[str, str]]:
        """What each server-side apply so far did with each object, by kustomize-controller's log."""
        entries = (json.loads(line) for line in self._log(KUSTOMIZE).read_text().splitlines() if line.startswith("{"))
        return [each["output"] for each in entries if each["msg"] == "server-side apply completed"]

    def explain(self) -> str:
        logs = (self._log(name).read_text(errors="replace")[-3000:] for name in (SOURCE, KUSTOMIZE))
        return "\n".join((yaml.safe_dump(self.kustomization()), *logs))

    def _get(self, kind: str) -> Object:
        found = self._api.get(self._path(kind))
        assert found is not None, kind
        return found

    def _path(self, kind: str) -> str:
        return PATHS[kind].format(namespace=self._namespace, name=NAME)

    def _request(self, kind: str) -> None:
        token = f"request-{next(self._requests)}"
        self._api.merge(self._path(kind), {"metadata": {"annotations": {REQUESTED_AT: token}}}, manager="flux-client")
        until(
            lambda: self._get(kind)["status"].get("lastHandledReconcileAt") == token,
            f"{token} of {kind} is carried out",
            explain=self.explain,
        )

    def _start(self, program: Path, ports: list[int], flags: tuple[str, ...]) -> None:
        metrics, health = ports
        temporary = self._folder / f"tmp-{program.name}"
        temporary.mkdir()
        environment = {
            **os.environ,
            "KUBECONFIG": str(self._kubernetes.kubeconfig),
            "RUNTIME_NAMESPACE": self._namespace,
            "TMPDIR": str(temporary),
        }
        common = (
            "--watch-all-namespaces=false",
            "--events-addr=",
            f"--metrics-addr=127.0.0.1:{metrics}",
            f"--health-addr=127.0.0.1:{health}",
        )
        with self._log(program.name).open("wb") as log:
            process = subprocess.Popen([str(program), *common, *flags], stdout=log, stderr=log, env=environment)
        self._processes.append(process)
        until(
            lambda: loopback.get_status(health, "/readyz") == http.HTTPStatus.OK,
            f"{program.name} is ready",
            explain=self._log(program.name).read_text,
        )

    def _log(self, name: str) -> Path:
        return self._folder / f"{name}.log"

    def _kubectl(self, *arguments: str, text: str | None = None) -> None:
        done = self._kubernetes.kubectl(*arguments, input=text)
        assert done.returncode == 0, done.stderr


def guide_objects() -> list[dict[str, Any]]:
    """The GitRepository and the Kustomization of docs/gitops.md."""
    (text,) = [each for each in re.findall(r"```yaml\n(.*?)```", GUIDE.read_text(), re.DOTALL) if "fluxcd.io" in each]
    found = list(yaml.safe_load_all(text))
    assert [each["kind"] for each in found] == list(PATHS)
    return found


def owned_fields(entry: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    """The path of each field that an entry of ``managedFields`` owns by itself, not for something below it."""

    def walk(tree: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
        below = {key: value for key, value in tree.items() if key != "."}
        if not below:
            yield path
        for key, value in below.items():
            yield from walk(value, (*path, key))

    yield from walk(entry["fieldsV1"], ())


def _commit(revision: str) -> str:
    """Flux writes `main@sha1:HASH`."""
    return revision.rpartition(":")[2]
