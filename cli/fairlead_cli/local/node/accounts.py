"""The certificates and kubeconfigs of a node's programs."""

from __future__ import annotations

from fairlead_cli.local import control_plane, kubeconfig, layout, pki
from fairlead_cli.local.node import addresses, nodes, ports

# By the name of its files: the user, and the user's group.
_CLIENTS = {
    "kube-scheduler": ("system:kube-scheduler", None),
    "kube-proxy": ("system:kube-proxy", None),
    "kube-router": ("fairlead-local:kube-router", None),
}


def prepare(where: layout.Layout, at: addresses.Addresses, count: int) -> None:
    """Make what the control plane has everywhere, and what the programs of `count` nodes have besides."""
    reached_at = (at.node, at.api_service)
    authority = control_plane.prepare(where, ports=ports.BY_NAME, address=at.node, addresses=reached_at)
    authority.issue("apiserver-kubelet-client", "kube-apiserver-kubelet-client", group="system:masters")
    authority.issue("front-proxy-client", "front-proxy-client")
    for name, (user, group) in _CLIENTS.items():
        pair = authority.issue(name, user, group=group, addresses=reached_at)
        _write_kubeconfig(where, at, name, pair)
    for node in nodes.all_of(count):
        name, own = node.part("kubelet"), (at.node_address(node.number),)
        pair = authority.issue(name, f"system:node:{node.name}", group="system:nodes", addresses=own)
        _write_kubeconfig(where, at, name, pair)


def _write_kubeconfig(where: layout.Layout, at: addresses.Addresses, name: str, pair: pki.KeyPair) -> None:
    kubeconfig.write(
        where.root / f"{name}.kubeconfig",
        server=f"https://{at.node}:{ports.BY_NAME['kube-apiserver']}",
        authority=where.authority,
        user=kubeconfig.certificate_user(pair),
        namespace="default",
    )
