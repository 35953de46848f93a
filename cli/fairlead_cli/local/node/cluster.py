"""A cluster with a node: brings its parts up in namespaces of their own, takes them down whole."""

from __future__ import annotations

import datetime
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping

from fairlead_cli.local import (
    binaries,
    errors,
    folder,
    layout,
    options,
    paths,
    progress,
    state,
)
from fairlead_cli.local.node import (
    accounts,
    addresses,
    cgroups,
    configuration,
    debian,
    image_builder,
    kuberay,
    packet_filter,
    parts,
    ports,
    product_images,
    sandbox,
)

_GRACE_S = 3.0
_READY_WITHIN_S = 240.0
# Without them no pod is started, so their end comes first.
_STARTERS = ("kubelet", "containerd")
_MANIFESTS = pathlib.Path(__file__).parent / "manifests"


class NodeCluster:
    """A named cluster with one node; any number of processes may hold an object for the same one."""

    def __init__(
        self,
        name: str = "default",
        state_dir: pathlib.Path | None = None,
        *,
        reporter: progress.Reporter | None = None,
        sources: binaries.Sources | None = None,
    ) -> None:
        """Starts nothing. `state_dir` is this cluster's own folder."""
        self.name = name
        self.root = (state_dir if state_dir is not None else paths.cluster_dir(name)).resolve()
        self._reporter = reporter or progress.Silent()
        self._sources = sources or binaries.Sources.from_environment()
        self._layout = layout.Layout(root=self.root, run=state.run_dir(self.root))
        self._folder = folder.Folder(self.name, self.root, starts="fairlead local up --node", reporter=self._reporter)
        self._short = f"fairlead-{self._layout.run.name[-8:]}"

    # --- up and down ---------------------------------------------------------------------------------------------

    def up(self) -> None:
        """Start what does not run, and wait for the node and its name server; first clean what a killed run left.

        Raises:
            LocalClusterError: a part did not become ready; what was started stays, for its logs, until `down`.
        """
        _require_linux_and_root()
        found, programs = self._binaries(), self._programs()
        with self._folder.locked():
            self._make_ready_for_start(programs)
            self._ensure_namespaces()
            context, wanted = self._context(found, programs), (*parts.TABLE, *self._asked_for())
            missing = [part for part in wanted if self._folder.ledger().living(part) is None]
            since = datetime.datetime.now(datetime.UTC) if "kubelet" in missing else None
            for part in missing:
                if part == "containerd":  # it asks for this image when the first pod starts
                    self._builder(programs).ensure(self._program_image("pause"))
                self._start(part, context)
            self._apply_name_server(self._builder(programs))
            self._await_node(since)
            self._folder.save(self._folder.require().model_copy(update={"phase": state.Phase.UP}))

    def down(self) -> None:
        """End all processes of this cluster, pods included, and remove its data; nothing happens when there is none."""
        with self._folder.locked():
            self._clean()

    def stop(self, part: str, signal_number: int = signal.SIGTERM) -> None:
        """End a part."""
        self._folder.ledger().stop(part, grace_s=_GRACE_S, signal_number=signal_number)

    def start(self, part: str) -> None:
        """Start a stopped part again and wait until it is ready."""
        self._start(part, self._context(self._binaries(), self._programs()))

    # --- what others ask for -------------------------------------------------------------------------------------

    def has_node(self) -> bool:
        """Whether a cluster of this name is there (up, or left by a killed run) and was started with a node.

        A file says so, and not the state: that of another version can't be read, and is to be taken down all the same.
        """
        return self._marker.exists()

    @property
    def addresses(self) -> addresses.Addresses:
        """Of node, services and pods."""
        block = self._folder.require().network
        if block is None:
            raise errors.LocalClusterError(f"the local cluster {self.name!r} has no node")
        return addresses.Addresses(block=block)

    @property
    def api_url(self) -> str:
        return f"https://{self.addresses.node}:{ports.BY_NAME['kube-apiserver']}"

    @property
    def kubeconfig(self) -> pathlib.Path:
        """The admin's."""
        return self._layout.admin_kubeconfig

    @property
    def logs(self) -> pathlib.Path:
        """The folder with one `<part>.log` each; those of pods are read with kubectl."""
        return self._layout.logs

    @property
    def ports(self) -> Mapping[str, int]:
        """The port of each listener, at the node's address."""
        return ports.BY_NAME

    @property
    def kubectl_path(self) -> pathlib.Path:
        return self._binaries().path("kubectl")

    @property
    def helm_path(self) -> pathlib.Path:
        return binaries.find(["helm"], self._sources, self._reporter).path("helm")

    def pid(self, part: str) -> int:
        """The process number of a running part.

        Raises:
            LocalClusterError: it does not run.
        """
        found = self._folder.ledger().living(part)
        if found is None:
            raise errors.LocalClusterError(f"{part} does not run")
        return found.pid

    def states(self) -> Mapping[str, bool]:
        """For each part that was started and not stopped: whether it runs now. Empty when the cluster is not up."""
        if self._folder.read() is None:
            return {}
        recorded = self._folder.ledger().names()
        known = (sandbox.HOLDER, *parts.TABLE, *parts.OPTIONAL)
        return {part: self._folder.ledger().living(part) is not None for part in known if part in recorded}

    def kubectl(self, *arguments: str, input: str | None = None) -> subprocess.CompletedProcess[str]:  # noqa: A002
        """Run kubectl as admin; `input` is as in `subprocess.run`. The caller looks at the return code."""
        argv = [str(self.kubectl_path), f"--kubeconfig={self.kubeconfig}", *arguments]
        return subprocess.run(argv, input=input, capture_output=True, text=True, check=False, timeout=300)

    def ensure_image(self, name: str) -> str:
        """Put one of Fairlead's images (`product_images.NAMES`, or `base`) into the node's registry unless it is there.

        The value is its reference for pods, by digest.
        """
        programs = self._programs()
        materials = product_images.Materials(cache=self._sources.cache, programs=programs, reporter=self._reporter)
        return self._builder(programs).ensure(materials.image(name))

    def install_kuberay(self) -> None:
        """Install KubeRay's operator and wait for it; done again it changes nothing."""
        manifests = kuberay.obtain_manifests(self._sources.cache, self._reporter)
        name = "kuberay-operator"
        program = binaries.find([name], self._sources, self._reporter).path(name)
        image = self._builder(self._programs()).ensure(image_builder.program(name, program))
        apply = ("apply", "--server-side", "--field-manager=fairlead-local")
        self._must(*apply, f"--filename={kuberay.definitions(manifests)}")
        self._must(*apply, "--filename=-", manifest=kuberay.as_list(kuberay.objects(manifests, image=image)))
        where = (f"--namespace={kuberay.NAMESPACE}", f"--timeout={_READY_WITHIN_S:.0f}s")
        self._must("rollout", "status", "deployment/kuberay-operator", *where)

    def enforce_policies(self) -> None:
        """Start what enforces NetworkPolicies on the node; done again it changes nothing."""
        part = "kube-router"
        packet_filter.obtain(self._sources.cache, self._reporter)
        found = binaries.find([*self._binaries().paths, part], self._sources, self._reporter)
        with self._folder.locked():
            self._apply("kube-router.yaml")
            if self._folder.ledger().living(part) is None:
                self._start(part, self._context(found, self._programs()))

    # --- how -----------------------------------------------------------------------------------------------------

    def _asked_for(self) -> list[str]:
        """What this node runs besides what every node runs."""
        recorded = self._folder.ledger().names() if self._folder.read() is not None else ()
        return [part for part in parts.OPTIONAL if part in recorded]

    def _start(self, part: str, context: parts.Context) -> None:
        began, row = time.monotonic(), {**parts.TABLE, **parts.OPTIONAL}[part]
        self._folder.ledger().start(part, row.command(context))
        self._await(part, lambda: row.is_ready(context), began)

    def _await(self, part: str, is_ready: Callable[[], bool], began: float) -> None:
        pause_s = 0.05
        while not is_ready():
            if self._folder.ledger().living(part) is None or time.monotonic() - began > _READY_WITHIN_S:
                log = self._layout.log(part)
                end = "\n".join(log.read_text(errors="replace").splitlines()[-12:])
                raise errors.LocalClusterError(f"{part} does not become ready; the end of {log}:\n{end}")
            time.sleep(pause_s)
            pause_s = min(pause_s * 1.2, 0.3)
        self._reporter.step(f"  {part} is ready ({time.monotonic() - began:.1f} s)")

    def _ensure_namespaces(self) -> None:
        held = self._sandbox()
        if self._folder.ledger().living(sandbox.HOLDER) is None:
            began = time.monotonic()
            self._folder.ledger().start(sandbox.HOLDER, held.holder())
            self._await(sandbox.HOLDER, held.is_ready, began)
        held.connect(self.pid(sandbox.HOLDER))

    def _apply_name_server(self, builder: image_builder.Builder) -> None:
        image = builder.ensure(self._program_image("coredns"))
        self._apply("coredns.yaml", IMAGE=image, ADDRESS=self.addresses.dns_service)

    def _apply(self, file_name: str, **values: str) -> None:
        """Apply one of the manifests, with each `${NAME}` in it replaced by its value."""
        manifest = (_MANIFESTS / file_name).read_text()
        for name, value in values.items():
            manifest = manifest.replace(f"${{{name}}}", value)
        self._must("apply", "--server-side", "--field-manager=fairlead-local", "--filename=-", manifest=manifest)

    def _await_node(self, since: datetime.datetime | None) -> None:
        began = time.monotonic()
        self._await("kubelet", lambda: self._node_is_ready(since), began)
        limit = f"--timeout={_READY_WITHIN_S:.0f}s"
        self._must("rollout", "status", "deployment/coredns", "--namespace=kube-system", limit)
        self._reporter.step(f"  node and name server are ready ({time.monotonic() - began:.1f} s)")

    def _node_is_ready(self, since: datetime.datetime | None) -> bool:
        """Whether the kubelet says so, at `since` or later: the API shows for a while what an earlier one said last."""
        lease = self.kubectl("get", f"lease/{parts.NODE_NAME}", "--namespace=kube-node-lease", "--output=json")
        node = self.kubectl("get", f"node/{parts.NODE_NAME}", "--output=json")
        if lease.returncode != 0 or node.returncode != 0:
            return False
        renewed = datetime.datetime.fromisoformat(json.loads(lease.stdout)["spec"]["renewTime"])
        conditions = json.loads(node.stdout)["status"].get("conditions", ())
        is_ready = any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)
        return is_ready and (since is None or renewed >= since)

    def _program_image(self, name: str) -> image_builder.Image:
        return image_builder.program(name, self._binaries().path(name))

    def _builder(self, programs: debian.Programs) -> image_builder.Builder:
        return image_builder.Builder(
            programs=programs, cache=self._sources.cache, address=self.addresses.node, reporter=self._reporter
        )

    def _must(self, *arguments: str, manifest: str | None = None) -> str:
        done = self.kubectl(*arguments, input=manifest)
        if done.returncode != 0:
            raise errors.LocalClusterError(f"kubectl {' '.join(arguments)}: {done.stderr.strip()}")
        return done.stdout

    def _binaries(self) -> binaries.Binaries:
        names = (*binaries.CONTROL_PLANE, *binaries.NODE, *self._asked_for())
        return binaries.find(names, self._sources, self._reporter)

    def _programs(self) -> debian.Programs:
        return debian.obtain(self._sources.cache, self._reporter)

    def _context(self, found: binaries.Binaries, programs: debian.Programs) -> parts.Context:
        pid = self.pid(sandbox.HOLDER)
        return parts.Context(
            where=self._layout,
            found=found,
            programs=programs,
            cache=self._sources.cache,
            at=self.addresses,
            files=self._files(programs),
            enter=lambda argv: sandbox.Sandbox.enter(pid, argv),
        )

    def _make_ready_for_start(self, programs: debian.Programs) -> None:
        remembered = self._folder.read()
        if remembered is not None and not self.has_node():
            raise errors.LocalClusterError(f"the local cluster {self.name!r} has no node: take another --name")
        if remembered is not None and not self._goes_on(remembered):
            self._reporter.step("cleaning what an earlier run left")
            self._clean()
            remembered = None
        if remembered is None:
            self._create(programs)

    def _goes_on(self, remembered: state.State) -> bool:
        """Whether the cluster can be gone on with: it was up once, and its namespaces are still there."""
        return remembered.phase is state.Phase.UP and self._folder.ledger().living(sandbox.HOLDER) is not None

    def _create(self, programs: debian.Programs) -> None:
        if self.root.is_relative_to("/var") or self.root.is_relative_to("/run"):
            raise errors.LocalClusterError(f"the node hides /var and /run: {self.root} can't be in there")
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._marker.touch()
        chosen = addresses.choose()
        fresh = state.State.new(self.name, self.root, options.Options())
        # First of all: from here on a killed run is found by the next.
        self._folder.save(fresh.model_copy(update={"network": chosen.block}))
        shutil.rmtree(self._layout.run, ignore_errors=True)
        self._layout.run.mkdir(mode=0o700)
        for made in (self._layout.logs, self._layout.etcd_data):
            made.mkdir(mode=0o700)
        accounts.prepare(self._layout, chosen)
        cgroups.create(self._short)
        pause = self._program_image("pause").reference
        written = configuration.files(self._files(programs), chosen, group=self._short, pause=pause)
        for name, text in written.items():
            path = self._files(programs).file(name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    def _files(self, programs: debian.Programs) -> configuration.Paths:
        kubelet, plugins = self._layout.pair("kubelet"), programs.network_plugins
        if plugins is None:
            raise errors.LocalClusterError("the CNI plugins are not there")
        return configuration.Paths(
            folder=self.root / "configuration",
            authority=self._layout.authority,
            kubelet_certificate=kubelet.certificate,
            kubelet_key=kubelet.key,
            kube_proxy_kubeconfig=self.root / "kube-proxy.kubeconfig",
            runc=programs.path("runc"),
            network_plugins=plugins,
            registry_storage=self._sources.cache / "images" / "registry",
        )

    def _sandbox(self) -> sandbox.Sandbox:
        return sandbox.Sandbox(where=self._layout, name=self._interface, at=self.addresses)

    @property
    def _interface(self) -> str:
        """At most 15 characters, as an interface's name has to be."""
        return f"fl-{self._short[-8:]}"

    @property
    def _marker(self) -> pathlib.Path:
        return self.root / "has-a-node"

    def _clean(self) -> None:
        ledger = self._folder.left_ledger()
        if ledger is not None:
            for part in _STARTERS:
                ledger.stop(part, grace_s=_GRACE_S, signal_number=signal.SIGKILL)
        cgroups.remove(self._short)
        if ledger is not None:
            ledger.stop_everything(grace_s=_GRACE_S)
        sandbox.disconnect(self._interface)
        shutil.rmtree(self._layout.run, ignore_errors=True)
        if self.root.exists():
            shutil.rmtree(self.root)


def _require_linux_and_root() -> None:
    if sys.platform != "linux" or os.geteuid() != 0:
        raise errors.LocalClusterError("a node needs Linux and root: it makes namespaces, mounts and control groups")
