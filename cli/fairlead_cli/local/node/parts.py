"""The programs of a node as a table: how each is started inside its namespaces, and when it is ready."""

from __future__ import annotations

import dataclasses
import http
import pathlib
import subprocess
from collections.abc import Callable, Mapping

from fairlead_cli.local import binaries, control_plane, layout, loopback, processes
from fairlead_cli.local.node import addresses, configuration, debian, nodes, packet_filter, ports


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What a command on `node` depends on; `enter` makes of a command line the one that runs it in its namespaces."""

    where: layout.Layout
    found: binaries.Binaries
    programs: debian.Programs
    cache: pathlib.Path
    at: addresses.Addresses
    node: nodes.Node
    files: configuration.Paths
    enter: Callable[[list[str]], list[str]]

    @property
    def address(self) -> str:
        """The node's."""
        return self.at.node_address(self.node.number)

    def command(self, program: str, argv: list[str]) -> processes.Command:
        """`argv`, with the node's programs on its PATH."""
        folder = self.found.path("containerd").parent
        path = f"{folder}:{self.programs.search_path}"
        environment = {**self.programs.environment, "PATH": path}
        return processes.Command(
            argv=self.enter(argv), log=self.where.log(self.node.part(program)), environment=environment
        )

    def wrapped(self, command: processes.Command) -> processes.Command:
        """The same command, in the namespaces."""
        return dataclasses.replace(command, argv=self.enter(list(command.argv)))


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One row of the table."""

    command: Callable[[Context], processes.Command]
    is_ready: Callable[[Context], bool]


def _registry(context: Context) -> processes.Command:
    argv = [str(context.programs.path("docker-registry")), "serve", str(context.files.file("registry.json"))]
    return context.command("registry", argv)


def _kube_apiserver(context: Context) -> processes.Command:
    where = context.where
    kubelet, proxy = where.pair("apiserver-kubelet-client"), where.pair("front-proxy-client")
    more = [
        f"--service-cluster-ip-range={context.at.services}",
        "--allow-privileged",
        f"--kubelet-certificate-authority={where.authority}",
        f"--kubelet-client-certificate={kubelet.certificate}",
        f"--kubelet-client-key={kubelet.key}",
        "--kubelet-preferred-address-types=InternalIP",
        f"--requestheader-client-ca-file={where.authority}",
        "--requestheader-allowed-names=front-proxy-client",
        "--requestheader-extra-headers-prefix=X-Remote-Extra-",
        "--requestheader-group-headers=X-Remote-Group",
        "--requestheader-username-headers=X-Remote-User",
        f"--proxy-client-cert-file={proxy.certificate}",
        f"--proxy-client-key-file={proxy.key}",
    ]
    command = control_plane.kube_apiserver(where, context.found, ports.BY_NAME, address=context.at.node, more=more)
    return context.wrapped(command)


def _kube_controller_manager(context: Context) -> processes.Command:
    command = control_plane.kube_controller_manager(
        context.where, context.found, ports.BY_NAME, address=context.at.node, controllers=("*",)
    )
    return context.wrapped(command)


def _kube_scheduler(context: Context) -> processes.Command:
    pair, config = context.where.pair("kube-scheduler"), context.where.root / "kube-scheduler.kubeconfig"
    argv = [
        str(context.found.path("kube-scheduler")),
        f"--bind-address={context.at.node}",
        f"--secure-port={ports.BY_NAME['kube-scheduler']}",
        f"--tls-cert-file={pair.certificate}",
        f"--tls-private-key-file={pair.key}",
        f"--kubeconfig={config}",
        f"--authentication-kubeconfig={config}",
        f"--authorization-kubeconfig={config}",
        "--leader-elect=false",
        "--profiling=false",
    ]
    return context.command("kube-scheduler", argv)


def _containerd(context: Context) -> processes.Command:
    argv = [str(context.found.path("containerd")), f"--config={context.files.file('containerd.toml')}"]
    return context.command("containerd", argv)


def _containerd_answers(context: Context) -> bool:
    argv = [str(context.found.path("ctr")), f"--address={configuration.SOCKET}", "--timeout=2s", "plugins", "list"]
    done = subprocess.run(context.enter(argv), capture_output=True, text=True, check=False)
    rows = [line.split() for line in done.stdout.splitlines()]
    return any(row[:2] == ["io.containerd.grpc.v1", "cri"] and row[-1] == "ok" for row in rows)


def _kubelet(context: Context) -> processes.Command:
    argv = [
        str(context.found.path("kubelet")),
        f"--config={context.files.file('kubelet.json')}",
        f"--kubeconfig={context.where.root / context.node.part('kubelet')}.kubeconfig",
        f"--hostname-override={context.node.name}",
        f"--node-ip={context.address}",
    ]
    return context.command("kubelet", argv)


def _kube_proxy(context: Context) -> processes.Command:
    argv = [
        str(context.found.path("kube-proxy")),
        f"--config={context.files.file('kube-proxy.json')}",
        f"--hostname-override={context.node.name}",
    ]
    return context.command("kube-proxy", argv)


def _kube_router(context: Context) -> processes.Command:
    argv = [
        str(context.found.path("kube-router")),
        f"--kubeconfig={context.where.root / 'kube-router.kubeconfig'}",
        f"--hostname-override={context.node.name}",
        f"--service-cluster-ip-range={context.at.services}",
        f"--health-address={context.address}:{ports.KUBE_ROUTER_HEALTH}",
    ]
    command = context.command("kube-router", argv)
    return dataclasses.replace(command, environment={**command.environment, **packet_filter.environment(context.cache)})


def _answers(part: str, path: str) -> Callable[[Context], bool]:
    return lambda at: control_plane.answers(at.where, ports.BY_NAME[part], path, address=at.at.node)


def _answers_plainly(port: int, path: str) -> Callable[[Context], bool]:
    return lambda at: loopback.get_status(port, path, host=at.address) == http.HTTPStatus.OK


# What nodes other than the first run.
OF_EACH_NODE = ("containerd", "kubelet", "kube-proxy")
# What a node runs only where it is asked for.
OPTIONAL: Mapping[str, Part] = {
    "kube-router": Part(command=_kube_router, is_ready=_answers_plainly(ports.KUBE_ROUTER_HEALTH, "/healthz")),
}
# In the order in which they are started.
TABLE: Mapping[str, Part] = {
    "registry": Part(command=_registry, is_ready=_answers_plainly(ports.REGISTRY, "/v2/")),
    "etcd": Part(
        command=lambda at: at.wrapped(control_plane.etcd(at.where, at.found, ports.BY_NAME, address=at.at.node)),
        is_ready=_answers("etcd", "/health"),
    ),
    "kube-apiserver": Part(command=_kube_apiserver, is_ready=_answers("kube-apiserver", "/readyz")),
    "kube-controller-manager": Part(
        command=_kube_controller_manager, is_ready=_answers("kube-controller-manager", "/healthz")
    ),
    "kube-scheduler": Part(command=_kube_scheduler, is_ready=_answers("kube-scheduler", "/healthz")),
    "containerd": Part(command=_containerd, is_ready=_containerd_answers),
    "kubelet": Part(command=_kubelet, is_ready=_answers_plainly(ports.KUBELET_HEALTH, "/healthz")),
    "kube-proxy": Part(command=_kube_proxy, is_ready=_answers_plainly(ports.KUBE_PROXY_HEALTH, "/healthz")),
}
ROWS: Mapping[str, Part] = {**TABLE, **OPTIONAL}
