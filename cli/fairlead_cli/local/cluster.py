"""One local cluster: brings its parts up, knows where they are, takes them down whole."""

from __future__ import annotations

import contextlib
import pathlib
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

import filelock

from fairlead_cli.local import (
    binaries,
    control_plane,
    errors,
    kubeconfig,
    layout,
    manifests,
    paths,
    ports,
    processes,
    progress,
    state,
)

KUBERNETES_PARTS = ("etcd", "kube-apiserver", "kube-controller-manager")
PARTS = (*KUBERNETES_PARTS, "ray", "gateway", "operator")
_PORTS: Mapping[str, Sequence[str]] = {
    "etcd": ("etcd", "etcd-peer"),
    "kube-apiserver": ("kube-apiserver",),
    "kube-controller-manager": ("kube-controller-manager",),
}
# The API server waits for its watchers to go, up to a minute; nobody gains by it here.
_GRACE_S = 3.0
_READY_WITHIN_S = 90.0
_TOKEN_LIFETIME = "8760h"  # noqa: S105 - a duration


class LocalCluster:
    """A named cluster on this machine; any number of processes may hold an object for the same one."""

    def __init__(
        self,
        name: str = "default",
        state_dir: pathlib.Path | None = None,
        *,
        namespace: str = "default",
        reporter: progress.Reporter | None = None,
        cache: pathlib.Path | None = None,
    ) -> None:
        """Starts nothing. `state_dir` is this cluster's own folder; `namespace` is where the models live."""
        self.name = name
        self.root = state_dir if state_dir is not None else paths.clusters_dir() / name
        self._namespace = namespace
        self._reporter = reporter or progress.Silent()
        self._cache = cache or paths.cache_dir()
        self._layout = layout.Layout(root=self.root, run=state.run_dir(self.root))

    # --- up and down ---------------------------------------------------------------------------------------------

    def up(self, parts: Sequence[str] = PARTS) -> None:
        """Start what of `parts` (and of what they need) does not run; clean what a killed run left, first.

        Raises:
            LocalClusterError: a part did not become ready; what was started is left for its logs, `down` ends it.
        """
        unknown = set(parts) - set(PARTS)
        if unknown:
            raise errors.LocalClusterError(f"unknown parts: {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
        wanted = [part for part in PARTS if part in {*KUBERNETES_PARTS, *parts}]
        found = binaries.find(binaries.CONTROL_PLANE, cache=self._cache, reporter=self._reporter)
        with self._locked():
            remembered = self._remembered()
            if remembered is not None and not self._goes_on(remembered):
                self._reporter.step("cleaning what an earlier run left")
                self._clean()
                remembered = None
            if remembered is None:
                self._create()
            for part in wanted:
                if self._ledger().living(part) is None:
                    self._begin(part, found)
            self._save(self._state().model_copy(update={"phase": state.Phase.UP}))

    def down(self) -> None:
        """End all processes of this cluster and remove its data; nothing happens when there is none."""
        with self._locked():
            self._clean()
        self._lock_path.unlink(missing_ok=True)

    def start(self, part: str) -> None:
        """Start a stopped part again, with its ports and data, and wait until it is ready."""
        if self._ledger().living(part) is None:
            self._begin(part, self._binaries())

    def stop(self, part: str, signal_number: int = signal.SIGTERM) -> None:
        """End a part with all that it started; with SIGKILL it has no chance to say goodbye."""
        self._ledger().stop(part, grace_s=_GRACE_S, signal_number=signal_number)

    def restart(self, part: str, signal_number: int = signal.SIGTERM) -> None:
        """Stop and start a part."""
        self.stop(part, signal_number)
        self.start(part)

    # --- what others ask for -------------------------------------------------------------------------------------

    def pid(self, part: str) -> int:
        """The process number of a running part.

        Raises:
            LocalClusterError: it does not run.
        """
        found = self._ledger().living(part)
        if found is None:
            raise errors.LocalClusterError(f"{part} does not run")
        return found.pid

    def running(self) -> tuple[str, ...]:
        """The parts that run now."""
        if self._remembered() is None:
            return ()
        return tuple(part for part in PARTS if self._ledger().living(part) is not None)

    @property
    def namespace(self) -> str:
        """Where the models live."""
        remembered = self._remembered()
        return remembered.namespace if remembered else self._namespace

    @property
    def ports(self) -> Mapping[str, int]:
        return self._state().ports

    @property
    def kubeconfig(self) -> pathlib.Path:
        """The admin's."""
        return self._layout.admin_kubeconfig

    @property
    def audit_log(self) -> pathlib.Path:
        return self._layout.audit_log

    @property
    def logs(self) -> pathlib.Path:
        return self._layout.logs

    @property
    def api_url(self) -> str:
        return f"https://127.0.0.1:{self.ports['kube-apiserver']}"

    def kubectl(self, *arguments: str, input: str | None = None) -> subprocess.CompletedProcess[str]:  # noqa: A002
        """Run kubectl as admin; `input` is as in `subprocess.run`. The caller looks at the return code."""
        return subprocess.run(
            [str(self._binaries().path("kubectl")), f"--kubeconfig={self.kubeconfig}", *arguments],
            input=input,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    def service_account_kubeconfig(self, namespace: str, name: str) -> pathlib.Path:
        """A kubeconfig with a token of this service account, asked for by TokenRequest, good for a year."""
        path = self._layout.service_account_kubeconfig(namespace, name)
        token = self._must("create", "token", name, f"--namespace={namespace}", f"--duration={_TOKEN_LIFETIME}")
        kubeconfig.write(
            path,
            server=self.api_url,
            authority=self._layout.authority,
            user=kubeconfig.token_user(token.strip()),
            namespace=namespace,
        )
        return path

    # --- how -----------------------------------------------------------------------------------------------------

    def _begin(self, part: str, found: binaries.Binaries) -> None:
        self._claim_ports(part)
        began = time.monotonic()
        command = self._command(part, found)
        self._ledger().start(part, command)
        self._wait(part, self._readiness(part), command.log)
        if part == "kube-apiserver":
            manifests.apply(self._must, namespace=self.namespace)
        self._reporter.step(f"{part} is ready ({time.monotonic() - began:.1f} s)")

    def _command(self, part: str, found: binaries.Binaries) -> processes.Command:
        match part:
            case "etcd":
                return control_plane.etcd(self._layout, found, self.ports)
            case "kube-apiserver":
                return control_plane.kube_apiserver(self._layout, found, self.ports)
            case "kube-controller-manager":
                return control_plane.kube_controller_manager(self._layout, found, self.ports)
            case _:
                raise errors.LocalClusterError(f"no such part: {part}")

    def _readiness(self, part: str) -> Callable[[], bool]:
        path = {"etcd": "/health", "kube-apiserver": "/readyz", "kube-controller-manager": "/healthz"}[part]
        url = f"https://127.0.0.1:{self.ports[part]}{path}"
        return lambda: control_plane.answers(self._layout, url)

    def _wait(self, part: str, ready: Callable[[], bool], log: pathlib.Path) -> None:
        deadline = time.monotonic() + _READY_WITHIN_S
        while not ready():
            gone = self._ledger().living(part) is None
            if gone or time.monotonic() > deadline:
                what = "ended at once" if gone else f"was not ready within {_READY_WITHIN_S:.0f} s"
                raise errors.LocalClusterError(f"{part} {what}; the end of {log}:\n{_tail(log)}")
            time.sleep(0.05)

    def _must(self, *arguments: str, manifest: str | None = None) -> str:
        done = self.kubectl(*arguments, input=manifest)
        if done.returncode != 0:
            raise errors.LocalClusterError(f"kubectl {' '.join(arguments)}: {done.stderr.strip()}")
        return done.stdout

    def _binaries(self) -> binaries.Binaries:
        return binaries.find(binaries.CONTROL_PLANE, cache=self._cache, reporter=self._reporter)

    def _goes_on(self, remembered: state.State) -> bool:
        """Whether the cluster can be gone on with: it was up once, and its Kubernetes still runs."""
        living = self._ledger().living
        return remembered.phase is state.Phase.UP and all(living(part) is not None for part in KUBERNETES_PARTS)

    def _create(self) -> None:
        for folder in (self.root, self._layout.run, self._layout.logs, self._layout.etcd_data):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._save(state.State.new(self.name, self.root, self._namespace))
        for part in KUBERNETES_PARTS:
            self._claim_ports(part)
        control_plane.prepare(self._layout, ports=self.ports)

    def _clean(self) -> None:
        remembered = self._remembered()
        if remembered is not None:
            self._ledger().stop_everything(grace_s=_GRACE_S)
        shutil.rmtree(self._layout.run, ignore_errors=True)
        if self.root.exists():
            shutil.rmtree(self.root)

    def _claim_ports(self, part: str) -> None:
        chosen = dict(self.ports)
        for port_name in _PORTS[part]:
            if port_name not in chosen:
                chosen[port_name] = ports.pick(chosen.values())
        self._save(self._state().model_copy(update={"ports": chosen}))

    def _ledger(self) -> processes.Ledger:
        return processes.Ledger(folder=self.root / "processes", mark=self._state().mark)

    @property
    def _state_path(self) -> pathlib.Path:
        return self.root / "state.json"

    def _remembered(self) -> state.State | None:
        return state.State.read(self._state_path)

    def _state(self) -> state.State:
        found = self._remembered()
        if found is None:
            raise errors.LocalClusterError(f"the local cluster {self.name!r} is not up; `fairlead local up` starts it")
        return found

    def _save(self, new: state.State) -> None:
        new.write(self._state_path)

    @property
    def _lock_path(self) -> pathlib.Path:
        return self.root.with_name(self.root.name + ".lock")

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        self._lock_path.parent.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(self._lock_path)
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout:
            self._reporter.step(f"waiting: another command works on the cluster {self.name!r} ({self._lock_path})")
            lock.acquire()
        try:
            yield
        finally:
            lock.release()


def _tail(path: pathlib.Path, *, lines: int = 12) -> str:
    return "\n".join(path.read_text(errors="replace").splitlines()[-lines:])
