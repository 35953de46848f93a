"""A cluster with nodes: brings its parts up in namespaces of their own, takes them down whole."""

from __future__ import annotations

import datetime
import functools
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
    manifest_files,
    nodes,
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


class NodeCluster:
    """A named cluster with nodes; any number of processes may hold an object for the same one."""

    def __init__(
        self,
        name: str = "default",
        state_dir: pathlib.Path | None = None,
        *,
        count: int | None = None,
        reporter: progress.Reporter | None = None,
        sources: binaries.Sources | None = None,
    ) -> None:
        """Starts nothing. `state_dir` is this cluster's own folder. `count` nodes; None: as many as it has, or one."""
        self.name = name
        self.root = (state_dir if state_dir is not None else paths.cluster_dir(name)).resolve()
        self._reporter = reporter or progress.Silent()
        self._sources = sources or binaries.Sources.from_environment()
        self._layout = layout.Layout(root=self.root, run=state.run_dir(self.root))
        self._folder = folder.Folder(self.name, self.root, starts="fairlead local up --node", reporter=self._reporter)
        self._short = f"fairlead-{self._layout.run.name[-8:]}"
        self._count = count

    # --- up and down ---------------------------------------------------------------------------------------------

    def up(self) -> None:
        """Start what does not run, and wait for the nodes and the name server; first clean what a killed run left.

        Raises:
            LocalClusterError: a part did not become ready; what was started stays, for its logs, until `down`. Or the
                cluster was made with another number of nodes.
        """
        _require_linux_and_root()
        found, programs = self._binaries(), self._programs()
        with self._folder.locked():
            self._make_ready_for_start(programs)
            self._ensure_namespaces()
            missing = [part for part in self._all_parts() if self._folder.ledger().living(part) is None]
            since = datetime.datetime.now(datetime.UTC)
            for part in missing:
                if part == "containerd":  # it asks for this image when the first pod starts
                    self._builder(programs).ensure(self._program_image("pause"))
                self._start(part, found, programs)
            self._apply_name_server(self._builder(programs))
            self._await_nodes({node: since for node in self.members if node.part("kubelet") in missing})
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
        self._start(part, self._binaries(), self._programs())

    # --- what others ask for -------------------------------------------------------------------------------------

    def has_node(self) -> bool:
        """Whether a cluster of this name is there (up, or left by a killed run) and was started with a node.

        A file says so, and not the state: that of another version can't be read, and is to be taken down all the same.
        """
        return self._marker.exists()

    @property
    def members(self) -> tuple[nodes.Node, ...]:
        """The first one has the control plane."""
        return nodes.all_of(self._folder.require().nodes)

    @property
    def addresses(self) -> addresses.Addresses:
        """Of nodes, services and pods."""
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
        known = (*self._holders(), *self._all_parts())
        return {part: self._folder.ledger().living(part) is not None for part in known if part in recorded}

    def kubectl(self, *arguments: str, input: str | None = None) -> subprocess.CompletedProcess[str]:  # noqa: A002
        """Run kubectl as admin; `input` is as in `subprocess.run`. The caller looks at the return code."""
        argv = [str(self.kubectl_path), f"--kubeconfig={self.kubeconfig}", *arguments]
        return subprocess.run(argv, input=input, capture_output=True, text=True, check=False, timeout=300)

    def must(self, *arguments: str, manifest: str | None = None) -> str:
        """Run kubectl as admin, with `manifest` as its input; the value is its output.

        Raises:
            LocalClusterError: it failed; with its own words.
        """
        done = self.kubectl(*arguments, input=manifest)
        if done.returncode != 0:
            raise errors.LocalClusterError(f"kubectl {' '.join(arguments)}: {done.stderr.strip()}")
        return done.stdout

    def ensure_image(self, name: str) -> str:
        """Put one of Fairlead's images (`product_images.NAMES`, or `base`) into the node's registry unless it is there.

        The value is its reference for pods, by digest.
        """
        programs = self._programs()
        materials = product_images.Materials(cache=self._sources.cache, programs=programs, reporter=self._reporter)
        return self._builder(programs).ensure(materials.image(name))

    def ensure_program_image(self, name: str) -> str:
        """Put the image of one of the programs `binaries.ON_A_NODE` into the node's registry; the value as above."""
        program = binaries.find([name], self._sources, self._reporter).path(name)
        return self._builder(self._programs()).ensure(image_builder.program(name, program))

    def install_kuberay(self) -> None:
        """Install KubeRay's operator and wait for it; done again it changes nothing."""
        manifests = kuberay.obtain_manifests(self._sources.cache, self._reporter)
        image = self.ensure_program_image("kuberay-operator")
        apply = ("apply", "--server-side", "--field-manager=fairlead-local")
        self.must(*apply, f"--filename={kuberay.definitions(manifests)}")
        self.must(*apply, "--filename=-", manifest=kuberay.as_list(kuberay.objects(manifests, image=image)))
        manifest_files.await_deployment(self.must, "kuberay-operator", namespace=kuberay.NAMESPACE)

    def enforce_policies(self) -> None:
        """Start what enforces NetworkPolicies on the nodes; done again it changes nothing."""
        program = "kube-router"
        packet_filter.obtain(self._sources.cache, self._reporter)
        found = binaries.find([*self._binaries().paths, program], self._sources, self._reporter)
        with self._folder.locked():
            manifest_files.apply(self.must, "kube-router.yaml")
            for part in (node.part(program) for node in self.members):
                if self._folder.ledger().living(part) is None:
                    self._start(part, found, self._programs())

    # --- how -----------------------------------------------------------------------------------------------------

    def _asked_for(self) -> list[str]:
        """The programs that these nodes run besides what every node runs."""
        recorded = self._folder.ledger().names() if self._folder.read() is not None else ()
        return [program for program in parts.OPTIONAL if program in recorded]

    def _holders(self) -> list[str]:
        return [node.part(sandbox.HOLDER) for node in self.members]

    def _all_parts(self) -> list[str]:
        """In the order in which they are started."""
        first, *others = self.members
        of_others = [node.part(program) for node in others for program in (*parts.OF_EACH_NODE, *self._asked_for())]
        return [*parts.TABLE, *map(first.part, self._asked_for()), *of_others]

    def _start(self, part: str, found: binaries.Binaries, programs: debian.Programs) -> None:
        node, program = nodes.program_of(part)
        began, row, context = time.monotonic(), parts.ROWS[program], self._context(node, found, programs)
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
        for node in self.members:
            held, part = self._sandbox(node), node.part(sandbox.HOLDER)
            if self._folder.ledger().living(part) is None:
                began = time.monotonic()
                self._folder.ledger().start(part, held.holder())
                self._await(part, held.is_ready, began)
            held.connect(self.pid(part), self.pid(sandbox.HOLDER))

    def _apply_name_server(self, builder: image_builder.Builder) -> None:
        image = builder.ensure(self._program_image("coredns"))
        manifest_files.apply(self.must, "coredns.yaml", IMAGE=image, ADDRESS=self.addresses.dns_service)

    def _await_nodes(self, since: Mapping[nodes.Node, datetime.datetime]) -> None:
        """`since` has the nodes whose kubelet was started, and when."""
        began = time.monotonic()
        for node in self.members:
            self._await(node.part("kubelet"), functools.partial(self._is_ready, node, since.get(node)), began)
        manifest_files.await_deployment(self.must, "coredns", namespace="kube-system")
        self._reporter.step(f"  nodes and name server are ready ({time.monotonic() - began:.1f} s)")

    def _is_ready(self, node: nodes.Node, since: datetime.datetime | None) -> bool:
        lease = self.kubectl("get", f"lease/{node.name}", "--namespace=kube-node-lease", "--output=json")
        found = self.kubectl("get", f"node/{node.name}", "--output=json")
        is_there = lease.returncode == 0 and found.returncode == 0
        return is_there and nodes.is_ready(lease.stdout, found.stdout, since)

    def _program_image(self, name: str) -> image_builder.Image:
        return image_builder.program(name, self._binaries().path(name))

    def _builder(self, programs: debian.Programs) -> image_builder.Builder:
        return image_builder.Builder(
            programs=programs, cache=self._sources.cache, address=self.addresses.node, reporter=self._reporter
        )

    def _binaries(self) -> binaries.Binaries:
        names = (*binaries.CONTROL_PLANE, *binaries.NODE, *self._asked_for())
        return binaries.find(names, self._sources, self._reporter)

    def _programs(self) -> debian.Programs:
        return debian.obtain(self._sources.cache, self._reporter)

    def _context(self, node: nodes.Node, found: binaries.Binaries, programs: debian.Programs) -> parts.Context:
        pid = self.pid(node.part(sandbox.HOLDER))
        return parts.Context(
            where=self._layout,
            found=found,
            programs=programs,
            cache=self._sources.cache,
            at=self.addresses,
            node=node,
            files=self._files(node, programs),
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
        else:
            nodes.require_same_count(self.name, self._count, remembered.nodes)

    def _goes_on(self, remembered: state.State) -> bool:
        """Whether the cluster can be gone on with: it was up once, and its namespaces are still there."""
        held = (self._folder.ledger().living(part) is not None for part in self._holders())
        return remembered.phase is state.Phase.UP and all(held)

    def _create(self, programs: debian.Programs) -> None:
        if self.root.is_relative_to("/var") or self.root.is_relative_to("/run"):
            raise errors.LocalClusterError(f"the node hides /var and /run: {self.root} can't be in there")
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._marker.touch()
        chosen = addresses.choose()
        fresh, count = state.State.new(self.name, self.root, options.Options()), self._count or 1
        # First of all: from here on a killed run is found by the next.
        self._folder.save(fresh.model_copy(update={"network": chosen.block, "nodes": count}))
        shutil.rmtree(self._layout.run, ignore_errors=True)
        self._layout.run.mkdir(mode=0o700)
        for made in (self._layout.logs, self._layout.etcd_data):
            made.mkdir(mode=0o700)
        accounts.prepare(self._layout, chosen, count)
        pause = self._program_image("pause").reference
        for node in nodes.all_of(count):
            group, paths_of = node.control_group(self._short), self._files(node, programs)
            cgroups.create(group)
            written = configuration.files(paths_of, chosen, node, group=group, pause=pause)
            for name, text in written.items():
                path = paths_of.file(name)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)

    def _files(self, node: nodes.Node, programs: debian.Programs) -> configuration.Paths:
        registry_storage = self._sources.cache / "images" / "registry"
        return configuration.Paths.of_node(node, self._layout, programs, registry_storage=registry_storage)

    def _sandbox(self, node: nodes.Node) -> sandbox.Sandbox:
        name = self._interface if node.is_first else node.name
        return sandbox.Sandbox(where=self._layout, name=name, at=self.addresses, node=node)

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
            for part in (each for each in ledger.names() if nodes.program_of(each)[1] in _STARTERS):
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
