"""The configuration files of a node's programs. Nothing here reads or writes."""

from __future__ import annotations

import dataclasses
import json
import pathlib
from collections.abc import Mapping
from typing import Any, Self

from fairlead_cli.local import errors, layout
from fairlead_cli.local.node import addresses, debian, nodes, ports

REGISTRY_NAME = "registry.node"
"""What images are called by in the cluster; which address that is, containerd alone knows."""
SOCKET = "/run/containerd/containerd.sock"
CLUSTER_DOMAIN = "cluster.local"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Paths:
    """The files of one node that other files name."""

    folder: pathlib.Path
    authority: pathlib.Path
    kubelet_certificate: pathlib.Path
    kubelet_key: pathlib.Path
    kube_proxy_kubeconfig: pathlib.Path
    runc: pathlib.Path
    network_plugins: pathlib.Path
    registry_storage: pathlib.Path

    @classmethod
    def of_node(
        cls, node: nodes.Node, where: layout.Layout, programs: debian.Programs, *, registry_storage: pathlib.Path
    ) -> Self:
        """Those of a node.

        Raises:
            LocalClusterError: the CNI plugins are not there.
        """
        pair, plugins = where.pair(node.part("kubelet")), programs.network_plugins
        if plugins is None:
            raise errors.LocalClusterError("the CNI plugins are not there")
        return cls(
            folder=where.root / f"configuration{node.suffix}",
            authority=where.authority,
            kubelet_certificate=pair.certificate,
            kubelet_key=pair.key,
            kube_proxy_kubeconfig=where.root / "kube-proxy.kubeconfig",
            runc=programs.path("runc"),
            network_plugins=plugins,
            registry_storage=registry_storage,
        )

    def file(self, name: str) -> pathlib.Path:
        return self.folder / name


def files(paths: Paths, at: addresses.Addresses, node: nodes.Node, *, group: str, pause: str) -> Mapping[str, str]:
    """Each file's text, by its name below the folder. `group` is the control group, `pause` the image's reference."""
    of_the_first = {"registry.json": json.dumps(registry(paths, at), indent=1)} if node.is_first else {}
    return {
        "containerd.toml": containerd(paths, pause=pause),
        f"registries/{REGISTRY_NAME}/hosts.toml": hosts(at),
        "network/10-node.conflist": json.dumps(network(at, node), indent=1),
        "kubelet.json": json.dumps(kubelet(paths, at, node, group=group), indent=1),
        "kube-proxy.json": json.dumps(kube_proxy(paths, at, node), indent=1),
        "resolv.conf": "# no name is looked up outside of the cluster\n",
        **of_the_first,
    }


def containerd(paths: Paths, *, pause: str) -> str:
    """Version 4 of the form, as containerd 2.4 has it: an unknown key is ignored without a word."""
    return f"""version = 4
root = "/var/lib/containerd"
state = "/run/containerd"

[plugins.'io.containerd.server.v1.grpc']
address = "{SOCKET}"

[plugins.'io.containerd.cri.v1.runtime']
restrict_oom_score_adj = true
disable_apparmor = true
netns_mounts_under_state_dir = true

[plugins.'io.containerd.cri.v1.runtime'.cni]
bin_dirs = ["{paths.network_plugins}"]
conf_dir = "{paths.file("network")}"

[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"

[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
BinaryName = "{paths.runc}"
SystemdCgroup = false

[plugins.'io.containerd.cri.v1.images'.pinned_images]
sandbox = "{pause}"

[plugins.'io.containerd.cri.v1.images'.registry]
config_path = "{paths.file("registries")}"
"""


def hosts(at: addresses.Addresses) -> str:
    """Where containerd finds the registry. Plain HTTP: it doesn't leave the machine."""
    url = f"http://{at.node}:{ports.REGISTRY}"
    return f'server = "{url}"\n\n[host."{url}"]\ncapabilities = ["pull", "resolve"]\n'


def network(at: addresses.Addresses, node: nodes.Node) -> Mapping[str, Any]:
    """A veth for each pod, and a route to it: so each packet passes the node's own filter, also between its pods."""
    given: Mapping[str, Any] = {
        "type": "host-local",
        "dataDir": "/run/cni-addresses",
        "ranges": [[{"subnet": at.pods_of(node.number)}]],
        "routes": [{"dst": "0.0.0.0/0"}],
    }
    plugins: list[Mapping[str, Any]] = [
        {"type": "ptp", "ipMasq": False, "ipam": given},
        {"type": "portmap", "capabilities": {"portMappings": True}},
    ]
    return {"cniVersion": "1.0.0", "name": "node", "plugins": plugins}


def kubelet(paths: Paths, at: addresses.Addresses, node: nodes.Node, *, group: str) -> Mapping[str, Any]:
    """For a node whose disk and memory are also used by others: it gives nothing away because they are short."""
    address = at.node_address(node.number)
    one_percent = ("memory.available", "nodefs.available", "nodefs.inodesFree", "imagefs.available")
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": address,
        "healthzBindAddress": address,
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(paths.authority)},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": str(paths.kubelet_certificate),
        "tlsPrivateKeyFile": str(paths.kubelet_key),
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{group}",
        "failCgroupV1": False,
        "failSwapOn": False,
        # Neither is allowed where the capability to raise limits is missing.
        "oomScoreAdj": 0,
        "maxOpenFiles": 20000,
        "clusterDNS": [at.dns_service],
        "clusterDomain": CLUSTER_DOMAIN,
        "resolvConf": str(paths.file("resolv.conf")),
        "containerRuntimeEndpoint": f"unix://{SOCKET}",
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "evictionHard": dict.fromkeys(one_percent, "1%"),
        "serializeImagePulls": False,
        "maxParallelImagePulls": 3,
    }


def kube_proxy(paths: Paths, at: addresses.Addresses, node: nodes.Node) -> Mapping[str, Any]:
    address = at.node_address(node.number)
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "nftables",
        "bindAddress": address,
        "healthzBindAddress": f"{address}:{ports.KUBE_PROXY_HEALTH}",
        "metricsBindAddress": f"{address}:{ports.KUBE_PROXY_METRICS}",
        "clientConnection": {"kubeconfig": str(paths.kube_proxy_kubeconfig)},
        "clusterCIDR": at.pods,
        # These limits are the machine's, not the namespace's.
        "conntrack": {"maxPerCore": 0, "min": 0, "tcpCloseWaitTimeout": "0s", "tcpEstablishedTimeout": "0s"},
    }


def registry(paths: Paths, at: addresses.Addresses) -> Mapping[str, Any]:
    return {
        "version": 0.1,
        "log": {"level": "warn", "accesslog": {"disabled": True}},
        "storage": {"filesystem": {"rootdirectory": str(paths.registry_storage)}, "delete": {"enabled": True}},
        "http": {"addr": f"{at.node}:{ports.REGISTRY}"},
    }
