"""metrics-server on the node: what `kubectl top` shows, and what a HorizontalPodAutoscaler reads of CPU and memory.

It verifies each kubelet's certificate by the cluster's own authority, which every service account gets with its token.
Its own certificate is of an authority that signs nothing else: the cluster's has no key any more.
"""

from __future__ import annotations

import base64
import pathlib

from fairlead_cli.local import pki
from fairlead_cli.local.node import cluster, manifest_files

_NAME, _NAMESPACE = "metrics-server", "kube-system"
_API = "apiservice/v1beta1.metrics.k8s.io"


def install(node: cluster.NodeCluster) -> None:
    """Install it, and wait until the API server reaches it; done again it changes nothing.

    Raises:
        LocalClusterError: it can't be built, or does not become available.
    """
    image = node.ensure_program_image(_NAME)
    authority, serving = _certificates(node.root / _NAME)
    content = {"AUTHORITY": authority, "CERTIFICATE": serving.certificate, "KEY": serving.key}
    encoded = {name: base64.b64encode(path.read_bytes()).decode() for name, path in content.items()}
    manifest_files.apply(node.must, f"{_NAME}.yaml", IMAGE=image, **encoded)
    manifest_files.await_deployment(node.must, _NAME, namespace=_NAMESPACE)
    node.must("wait", "--for=condition=Available", _API, "--timeout=60s")


def _certificates(folder: pathlib.Path) -> tuple[pathlib.Path, pki.KeyPair]:
    """The authority's certificate, and what the server shows; kept with the cluster."""
    kept = pki.KeyPair(certificate=folder / f"{_NAME}.crt", key=folder / f"{_NAME}.key")
    if not kept.certificate.exists():  # it is the last one that is written
        pki.Authority(folder).issue(_NAME, _NAME, names=(f"{_NAME}.{_NAMESPACE}.svc",))
    return folder / "ca.crt", kept
