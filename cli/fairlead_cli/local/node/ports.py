"""The ports of a node's programs. They are its usual ones: the node has its own network."""

from __future__ import annotations

from collections.abc import Mapping

REGISTRY = 5000
KUBELET = 10250
KUBELET_HEALTH = 10248
KUBE_PROXY_METRICS = 10249
KUBE_PROXY_HEALTH = 10256
KUBE_ROUTER_HEALTH = 20244
BY_NAME: Mapping[str, int] = {
    "etcd": 2379,
    "etcd-peer": 2380,
    "kube-apiserver": 6443,
    "kube-controller-manager": 10257,
    "kube-scheduler": 10259,
    "kubelet": KUBELET,
    "kube-proxy": KUBE_PROXY_HEALTH,
    "kube-router": KUBE_ROUTER_HEALTH,
    "registry": REGISTRY,
}
