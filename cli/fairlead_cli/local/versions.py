"""The one place where the versions of the local cluster's programs are pinned.

A new version here needs a new `go.mod`/`go.sum` under `gobuild/` (see its README); a test compares the two.
"""

from __future__ import annotations

KUBERNETES = "v1.37.2"
ETCD = "v3.6.16"
CONTAINERD = "v2.4.2"
COREDNS = "v1.15.0"
KUBERAY = "v1.6.2"
HELM = "v4.3.2"
KUBE_ROUTER = "v2.1.0"
METRICS_SERVER = "v0.9.0"
LOCAL_PATH_PROVISIONER = "v0.0.30"
PAUSE = "v1"
GO_MINIMUM = (1, 26)
