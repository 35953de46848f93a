"""Our own programs as processes: gateway and operator, each under its own service account."""

from __future__ import annotations

import http
import pathlib
import sysconfig

from fairlead_cli.local import layout, loopback, manifests, options, processes, ray_node

OPERATOR_ACCOUNT = (manifests.SYSTEM_NAMESPACE, "fairlead-operator")
GATEWAY_ACCOUNT = "fairlead-gateway"  # in the namespace of the models
# What a kubelet does for a pod. The operator ends by itself when it lost its Lease (the API server was away for long),
# and relies on being started again. Source: fairlead_operator.cli.main, 0 after a signal, 2 for wrong settings.
_STARTED_AGAIN = """
trap 'trap "" TERM; kill -TERM "$child"; wait "$child"; exit 0' TERM
while :; do
    "$@" &
    child=$!
    wait "$child"
    code=$?
    case $code in 0 | 2) exit $code ;; esac
    sleep 1
done
"""


def script(name: str) -> str:
    """The console script of the environment that this command runs in, whatever PATH says."""
    return str(pathlib.Path(sysconfig.get_path("scripts")) / name)


def gateway(where: layout.Layout, ports: layout.Ports, chosen: options.Options) -> processes.Command:
    argv = [
        script("fairlead-gateway"),
        f"--kubeconfig={where.service_account_kubeconfig(chosen.namespace, GATEWAY_ACCOUNT)}",
        f"--namespace={chosen.namespace}",
        f"--listen=127.0.0.1:{ports['gateway-data']}",
        f"--admin=127.0.0.1:{ports['gateway-admin']}",
        f"--state-dir={where.gateway_state}",
        *ray_node.gateway_arguments(ports, chosen),
        # No balancer in front of it has to notice that it ends.
        "--stop-delay=0",
        *chosen.gateway_arguments,
    ]
    return processes.Command(argv=argv, log=where.log("gateway"))


def operator(where: layout.Layout, ports: layout.Ports, chosen: options.Options) -> processes.Command:
    namespace = chosen.namespace
    data, admin = (f"http://127.0.0.1:{ports[name]}" for name in ("gateway-data", "gateway-admin"))
    argv = [
        "/bin/sh",
        "-c",
        _STARTED_AGAIN,
        "fairlead-local-restart",
        script("fairlead-operator"),
        f"--kubeconfig={where.service_account_kubeconfig(*OPERATOR_ACCOUNT)}",
        f"--namespace={namespace}",
        f"--ray={namespace}=http://127.0.0.1:{ports['ray-dashboard']}",
        *_second_cluster(ports, chosen),
        f"--ray-token-file={where.ray_token}",
        f"--gateway={namespace}={data},{admin}",
        f"--public-url={namespace}={data}",
        f"--lease-namespace={manifests.SYSTEM_NAMESPACE}",
        f"--listen=127.0.0.1:{ports['operator']}",
        *chosen.operator_arguments,
    ]
    return processes.Command(argv=argv, log=where.log("operator"))


def _second_cluster(ports: layout.Ports, chosen: options.Options) -> tuple[str, ...]:
    if not chosen.second_class:
        return ()
    url = f"http://127.0.0.1:{ports[ray_node.SECOND.port('dashboard')]}"
    return (f"--ray={chosen.namespace}/{chosen.second_class}={url}",)


def is_healthy(port: int) -> bool:
    """Whether the program's loop lives; readiness may wait for what the person has yet to apply."""
    return loopback.get_status(port, "/healthz") == http.HTTPStatus.OK
