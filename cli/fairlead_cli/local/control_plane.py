"""The command lines of etcd, kube-apiserver and kube-controller-manager, and how one knows that they are ready."""

from __future__ import annotations

import http
import json
import ssl
from collections.abc import Sequence

from fairlead_cli.local import binaries, kubeconfig, layout, loopback, pki, processes

LOOPBACK = "127.0.0.1"
_API_WITHOUT_NODES = (
    "--endpoint-reconciler-type=none",  # an Endpoints object may not hold a loopback address
    "--service-cluster-ip-range=10.96.0.0/16",
)
# Without pods there is nothing for the other controllers to do, and idle ones cost memory and requests.
_CONTROLLERS = (
    "clusterrole-aggregation-controller",
    "garbage-collector-controller",
    "horizontal-pod-autoscaler-controller",
    "namespace-controller",
    "root-ca-certificate-publisher-controller",
    "serviceaccount-controller",
    "serviceaccount-token-controller",
)
# Reads are left out: the file would be of watches and GETs only. Who wrote what, and when, is what tests ask.
_AUDIT_POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [
        {"level": "None", "verbs": ["get", "list", "watch"]},
        {"level": "Metadata"},
    ],
}


def prepare(
    where: layout.Layout, *, ports: layout.Ports, address: str = LOOPBACK, addresses: Sequence[str] = ()
) -> pki.Authority:
    """Make certificates, the audit policy and the kubeconfigs of admin and controller manager.

    The API server is at `address`; the certificates also serve at `addresses`.
    """
    authority = pki.Authority(where.pki_dir)
    authority.issue("etcd", "etcd", addresses=addresses)
    authority.issue("kube-apiserver", "kube-apiserver", addresses=addresses)
    authority.issue("etcd-client", "kube-apiserver")
    manager = authority.issue("kube-controller-manager", "system:kube-controller-manager", addresses=addresses)
    admin = authority.issue("admin", "admin", group="system:masters")
    authority.service_account_key()
    where.audit_policy.write_text(json.dumps(_AUDIT_POLICY))
    server = f"https://{address}:{ports['kube-apiserver']}"
    for path, pair in ((where.admin_kubeconfig, admin), (where.controller_manager_kubeconfig, manager)):
        user = kubeconfig.certificate_user(pair)
        kubeconfig.write(path, server=server, authority=authority.certificate, user=user, namespace="default")
    return authority


def etcd(
    where: layout.Layout, found: binaries.Binaries, ports: layout.Ports, *, address: str = LOOPBACK
) -> processes.Command:
    client, peer = f"https://{address}:{ports['etcd']}", f"https://{address}:{ports['etcd-peer']}"
    pair = where.pair("etcd")
    argv = [
        str(found.path("etcd")),
        "--name=local",
        f"--data-dir={where.etcd_data}",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=local={peer}",
        # As Kubernetes' own installers set it. Without it a watch of what seldom changes gets no bookmarks, and who
        # takes a silent watch for a dead one knows nothing after 90 s.
        "--watch-progress-notify-interval=5s",
        "--unsafe-no-fsync",  # outlives a kill of the process, not of the machine; a local cluster need not
        "--log-level=warn",
    ]
    for role in ("", "peer-"):
        argv += [
            f"--{role}client-cert-auth",
            f"--{role}trusted-ca-file={where.authority}",
            f"--{role}cert-file={pair.certificate}",
            f"--{role}key-file={pair.key}",
        ]
    return processes.Command(argv=argv, log=where.log("etcd"))


def kube_apiserver(
    where: layout.Layout,
    found: binaries.Binaries,
    ports: layout.Ports,
    *,
    address: str = LOOPBACK,
    more: Sequence[str] = _API_WITHOUT_NODES,
) -> processes.Command:
    """The API server at `address`, with `more` arguments."""
    serving, client = where.pair("kube-apiserver"), where.pair("etcd-client")
    argv = [
        str(found.path("kube-apiserver")),
        f"--bind-address={address}",
        f"--advertise-address={address}",
        f"--secure-port={ports['kube-apiserver']}",
        f"--tls-cert-file={serving.certificate}",
        f"--tls-private-key-file={serving.key}",
        f"--client-ca-file={where.authority}",
        f"--etcd-servers=https://{address}:{ports['etcd']}",
        f"--etcd-cafile={where.authority}",
        f"--etcd-certfile={client.certificate}",
        f"--etcd-keyfile={client.key}",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        "--anonymous-auth=false",
        "--profiling=false",
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
        f"--service-account-key-file={where.service_account_key}",
        f"--service-account-signing-key-file={where.service_account_key}",
        f"--audit-policy-file={where.audit_policy}",
        f"--audit-log-path={where.audit_log}",
        "--audit-log-maxsize=200",
        "--audit-log-maxbackup=2",
        *more,
    ]
    return processes.Command(argv=argv, log=where.log("kube-apiserver"))


def kube_controller_manager(
    where: layout.Layout,
    found: binaries.Binaries,
    ports: layout.Ports,
    *,
    address: str = LOOPBACK,
    controllers: Sequence[str] = _CONTROLLERS,
) -> processes.Command:
    """The controller manager at `address`, with these controllers."""
    serving, config = where.pair("kube-controller-manager"), where.controller_manager_kubeconfig
    argv = [
        str(found.path("kube-controller-manager")),
        f"--bind-address={address}",
        f"--secure-port={ports['kube-controller-manager']}",
        f"--tls-cert-file={serving.certificate}",
        f"--tls-private-key-file={serving.key}",
        f"--kubeconfig={config}",
        f"--authentication-kubeconfig={config}",
        f"--authorization-kubeconfig={config}",
        "--leader-elect=false",  # there is one; its lease would be written for nothing
        f"--controllers={','.join(controllers)}",
        "--use-service-account-credentials",
        f"--root-ca-file={where.authority}",
        f"--service-account-private-key-file={where.service_account_key}",
        "--profiling=false",
    ]
    return processes.Command(argv=argv, log=where.log("kube-controller-manager"))


def answers(where: layout.Layout, port: int, path: str, *, address: str = LOOPBACK) -> bool:
    """Whether this HTTPS listener of the control plane answers 200 to the admin."""
    pair = where.pair("admin")
    trust = ssl.create_default_context(cafile=str(where.authority))
    trust.load_cert_chain(pair.certificate, pair.key)
    return loopback.get_status(port, path, host=address, trust=trust) == http.HTTPStatus.OK
