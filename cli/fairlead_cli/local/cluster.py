"""One local cluster: brings its parts up, knows where they are, takes them down whole."""

from __future__ import annotations

import pathlib
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence

from fairlead_cli.local import (
    binaries,
    control_plane,
    errors,
    folder,
    kubeconfig,
    layout,
    manifests,
    options,
    parts,
    paths,
    ports,
    progress,
    ray_head,
    ray_node,
    state,
)

KUBERNETES_PARTS = parts.KUBERNETES
PARTS = parts.USUAL
# The API server waits for its watchers to go, up to a minute; nobody gains by it here.
_GRACE_S = 3.0
_READY_WITHIN_S = 600.0
_TOKEN_LIFETIME = "8760h"  # noqa: S105 - a duration


class LocalCluster:
    """A named cluster on this machine; any number of processes may hold an object for the same one."""

    def __init__(
        self,
        name: str = "default",
        state_dir: pathlib.Path | None = None,
        *,
        chosen: options.Options | None = None,
        reporter: progress.Reporter | None = None,
        sources: binaries.Sources | None = None,
    ) -> None:
        """Starts nothing. `state_dir` is this cluster's own folder; `chosen` matters only when it is created."""
        self.name = name
        self.root = (state_dir if state_dir is not None else paths.cluster_dir(name)).resolve()
        self._chosen = chosen or options.Options()
        self._reporter = reporter or progress.Silent()
        self._sources = sources or binaries.Sources.from_environment()
        self._found: binaries.Binaries | None = None
        self._layout = layout.Layout(root=self.root, run=state.run_dir(self.root))
        self._folder = folder.Folder(self.name, self.root, starts="fairlead local up", reporter=self._reporter)

    # --- up and down ---------------------------------------------------------------------------------------------

    def up(self, wanted: Sequence[str] = PARTS) -> None:
        """Start what of `wanted` (and of what that needs) does not run; first clean what a killed run left.

        Ray means all Ray nodes of the cluster (`ray_nodes` and `second_class` of its options).

        Raises:
            LocalClusterError: a part did not become ready; what was started stays, for its logs, until `down`.
        """
        if unknown := sorted(set(wanted) - set(parts.TABLE)):
            raise errors.LocalClusterError(f"unknown parts: {', '.join(unknown)}; choose from {', '.join(parts.TABLE)}")
        self._folder.read()  # what this version can't read is said before anything is built
        self._binaries()
        with self._folder.locked():
            self._make_ready_for_start()
            missing = [part for part in self._with_needs(wanted) if self._folder.ledger().living(part) is None]
            # Ray depends on no other part and takes longest, so it starts first, in parallel with the others.
            began = {part: self._launch(part) for part in missing if part == "ray"}
            for part in missing:
                if part in KUBERNETES_PARTS:
                    began[part] = self._launch(part)
                if part in parts.KUBECTL:
                    self._await(part, began.pop(part))
            manifests.apply(self._apply_manifest, namespace=self.namespace)
            began |= {part: self._launch(part) for part in missing if part in ("gateway", "operator")}
            for part in reversed(began):
                self._await(part, began[part])
            for node in (ray_node.WORKER, ray_node.SECOND):
                if node.part in missing:
                    self.start(node.part)
            self._folder.save(self._folder.require().model_copy(update={"phase": state.Phase.UP}))

    def down(self) -> None:
        """End all processes of this cluster and remove its data; nothing happens when there is none."""
        with self._folder.locked():
            self._clean()

    def start(self, part: str) -> None:
        """Start a stopped part again, with its ports and data, and wait until it is ready."""
        if self._folder.ledger().living(part) is None:
            self._await(part, self._launch(part))

    def stop(self, part: str, signal_number: int = signal.SIGTERM) -> None:
        """End a part with all that it started; with SIGKILL it has no chance to say goodbye."""
        self._folder.ledger().stop(part, grace_s=_GRACE_S, signal_number=signal_number)

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
        found = self._folder.ledger().living(part)
        if found is None:
            raise errors.LocalClusterError(f"{part} is not running")
        return found.pid

    def running(self) -> tuple[str, ...]:
        """The parts that run now."""
        if self._folder.read() is None:
            return ()
        return tuple(part for part in parts.TABLE if self._folder.ledger().living(part) is not None)

    def states(self) -> Mapping[str, bool]:
        """For each part that was started and not stopped: whether it runs now. Empty when the cluster is not up."""
        if self._folder.read() is None:
            return {}
        recorded = self._folder.ledger().names()
        return {part: self._folder.ledger().living(part) is not None for part in parts.TABLE if part in recorded}

    @property
    def namespace(self) -> str:
        """Where the models live."""
        remembered = self._folder.read()
        return (remembered.chosen if remembered else self._chosen).namespace

    @property
    def ports(self) -> Mapping[str, int]:
        """The port of each listener, by `<part>` or `<part>-<what>`."""
        return self._folder.require().ports

    @property
    def kubeconfig(self) -> pathlib.Path:
        """The admin's."""
        return self._layout.admin_kubeconfig

    @property
    def audit_log(self) -> pathlib.Path:
        """One JSON event a line for each write: `audit.k8s.io/v1`, level Metadata."""
        return self._layout.audit_log

    @property
    def logs(self) -> pathlib.Path:
        """The folder with one `<part>.log` each."""
        return self._layout.logs

    @property
    def api_url(self) -> str:
        return f"https://127.0.0.1:{self.ports['kube-apiserver']}"

    @property
    def ray_address(self) -> str:
        return f"http://127.0.0.1:{self.ports['ray-dashboard']}"

    @property
    def ray_token_file(self) -> pathlib.Path:
        return self._layout.ray_token

    @property
    def source_secrets(self) -> pathlib.Path:
        """The folder whose sub-folders take the place of Secrets for models' sources."""
        return self._layout.source_secrets

    @property
    def ray_logs(self) -> pathlib.Path:
        """Where the Ray that runs now writes its own logs, those of Serve and the replicas in `serve`."""
        return self._layout.ray_temp() / "session_latest" / "logs"

    def node_folder(self, part: str) -> pathlib.Path:
        """Where the replicas of a Ray node (`ray`, `worker`, `second`) have their files; the first of them makes it."""
        return self._layout.node_folder(part)

    def warm_start(self, part: str) -> pathlib.Path:
        """The folder of the template that forks a Ray node's workers; a file `off` in it switches that off."""
        return self._layout.warm_start(part)

    @property
    def gateway_state(self) -> pathlib.Path:
        """The gateway's own folder: its last table and what it records of HAProxy."""
        return self._layout.gateway_state

    @property
    def gateway_url(self) -> str:
        return f"http://127.0.0.1:{self.ports['gateway-data']}"

    @property
    def gateway_admin_url(self) -> str:
        return f"http://127.0.0.1:{self.ports['gateway-admin']}"

    @property
    def operator_url(self) -> str:
        return f"http://127.0.0.1:{self.ports['operator']}"

    @property
    def kubectl_path(self) -> pathlib.Path:
        return self._binaries().path("kubectl")

    def kubectl_command(self, *arguments: str) -> list[str]:
        """Kubectl as admin with these arguments."""
        return [str(self.kubectl_path), f"--kubeconfig={self.kubeconfig}", *arguments]

    def kubectl(self, *arguments: str, input: str | None = None) -> subprocess.CompletedProcess[str]:  # noqa: A002
        """Run kubectl as admin; `input` is as in `subprocess.run`. The caller looks at the return code."""
        return subprocess.run(
            self.kubectl_command(*arguments),
            input=input,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    def service_account_kubeconfig(self, namespace: str, name: str) -> pathlib.Path:
        """A kubeconfig with a token of this service account, asked for by TokenRequest, good for a year."""
        path = self._layout.service_account_kubeconfig(namespace, name)
        token = self._apply_manifest(
            "create", "token", name, f"--namespace={namespace}", f"--duration={_TOKEN_LIFETIME}"
        )
        kubeconfig.write(
            path,
            server=self.api_url,
            authority=self._layout.authority,
            user=kubeconfig.token_user(token.strip()),
            namespace=namespace,
        )
        return path

    # --- how -----------------------------------------------------------------------------------------------------

    def _with_needs(self, wanted: Sequence[str]) -> tuple[str, ...]:
        closed = parts.with_needs(wanted)
        if ray_node.HEAD.part not in closed:
            return closed
        return parts.with_needs((*closed, *(node.part for node in ray_node.nodes(self._folder.require().chosen))))

    def _launch(self, part: str) -> float:
        """Start a part's process and give the moment it was started at."""
        self._claim_ports(part)
        at, row = self._context(), parts.TABLE[part]
        # Once only: gateway and operator must be able to start while the API server is away.
        if row.account is not None and not self._layout.service_account_kubeconfig(*row.account(at)).exists():
            self.service_account_kubeconfig(*row.account(at))
        began = time.monotonic()
        self._folder.ledger().start(part, row.command(at))
        return began

    def _await(self, part: str, began: float) -> None:
        starts_left = parts.TABLE[part].starts
        while not self._becomes_ready(part, began + _READY_WITHIN_S):
            log, starts_left = self._layout.log(part), starts_left - 1
            if starts_left == 0 or time.monotonic() > began + _READY_WITHIN_S:
                raise errors.LocalClusterError(f"{part} did not become ready. The end of {log}:\n{_tail(log)}")
            self._reporter.step(f"  {part} gave up while starting (is the machine busy?); starting it again")
            self._folder.ledger().stop(part, grace_s=0)
            self._launch(part)
        self._reporter.step(f"  {part} is ready ({time.monotonic() - began:.1f} s)")

    def _becomes_ready(self, part: str, deadline: float) -> bool:
        """Wait until the part is ready; False when it ended, or time is up."""
        at, pause_s = self._context(), 0.05
        while not parts.TABLE[part].is_ready(at):
            if self._folder.ledger().living(part) is None or time.monotonic() > deadline:
                return False
            time.sleep(pause_s)
            pause_s = min(pause_s * 1.2, 0.3)
        return True

    def _context(self) -> parts.Context:
        remembered = self._folder.require()
        return parts.Context(
            where=self._layout, ports=remembered.ports, found=self._binaries(), chosen=remembered.chosen
        )

    def _apply_manifest(self, *arguments: str, manifest: str | None = None) -> str:
        done = self.kubectl(*arguments, input=manifest)
        if done.returncode != 0:
            raise errors.LocalClusterError(f"kubectl {' '.join(arguments)}: {done.stderr.strip()}")
        return done.stdout

    def _binaries(self) -> binaries.Binaries:
        if self._found is None:  # asking a binary on PATH for its version takes a second
            self._found = binaries.find(binaries.CONTROL_PLANE, self._sources, self._reporter)
        return self._found

    def _make_ready_for_start(self) -> None:
        remembered = self._folder.read()
        if remembered is not None and not self._can_continue(remembered):
            self._reporter.step("cleaning what an earlier run left")
            self._clean()
            remembered = None
        if remembered is None:
            self._create()

    def _can_continue(self, remembered: state.State) -> bool:
        """Whether the cluster can be gone on with: it was up once, and its Kubernetes still runs."""
        living = self._folder.ledger().living
        return remembered.phase is state.Phase.UP and all(living(part) is not None for part in KUBERNETES_PARTS)

    def _create(self) -> None:
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        # First of all: from here on a killed run is found by the next.
        self._folder.save(state.State.new(self.name, self.root, self._chosen))
        shutil.rmtree(self._layout.run, ignore_errors=True)
        try:
            self._layout.run.mkdir(mode=0o700)
        except FileExistsError as error:
            raise errors.LocalClusterError(
                f"{self._layout.run} exists and belongs to another user; remove it or choose another name"
            ) from error
        for made in (self._layout.logs, self._layout.etcd_data):
            made.mkdir(mode=0o700)
        for part in KUBERNETES_PARTS:
            self._claim_ports(part)
        control_plane.prepare(self._layout, ports=self.ports)
        ray_head.make_token(self._layout.ray_token)

    def _clean(self) -> None:
        if (ledger := self._folder.left_ledger()) is not None:
            ledger.stop_everything(grace_s=_GRACE_S)
        shutil.rmtree(self._layout.run, ignore_errors=True)
        if self.root.exists():
            shutil.rmtree(self.root)

    def _claim_ports(self, part: str) -> None:
        chosen = dict(self.ports)
        for port_name in parts.TABLE[part].ports:
            if port_name not in chosen:
                chosen[port_name] = ports.pick(chosen.values())
        self._folder.save(self._folder.require().model_copy(update={"ports": chosen}))


def _tail(path: pathlib.Path, *, lines: int = 12) -> str:
    return "\n".join(path.read_text(errors="replace").splitlines()[-lines:])
