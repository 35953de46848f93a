"""Ray's head node: loopback only, token authentication on, its own Serve proxies off."""

from __future__ import annotations

import http
import os
import pathlib
import secrets
import sys

from fairlead_cli.local import layout, loopback, options, processes, ray_node

_LISTENERS = (
    "dashboard",
    "gcs",
    "node-manager",
    "object-manager",
    "agent-http",
    "agent-grpc",
    "runtime-env-agent",
    "metrics",
    "autoscaler-metrics",
    "dashboard-metrics",
    "directory",
)


def port_names(node: ray_node.Node = ray_node.HEAD) -> tuple[str, ...]:
    """The names of a head's ports."""
    return tuple(node.port(each) for each in _LISTENERS)


PORTS = port_names()


def make_token(path: pathlib.Path) -> None:
    """Make the token that Ray asks of every caller; an existing one stays, for it is in use."""
    if not path.exists():
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_hex(32))


def environment(
    where: layout.Layout, ports: layout.Ports, chosen: options.Options, node: ray_node.Node = ray_node.HEAD
) -> dict[str, str]:
    """The environment variables for Ray, on a head and on nodes that join it."""
    return {
        **ray_node.variables(node, where, ports, chosen),
        **({"FAIRLEAD_CACHE_DIR": str(chosen.models_cache)} if chosen.models_cache is not None else {}),
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(where.ray_token),
        # Ray replaces 127.0.0.1 by the machine's outer address and then listens on all interfaces, except where it
        # takes the machine for a laptop that can't be a node of a cluster. That is what we are.
        # Source: ray/_private/services.py, get_node_ip_address (2.60).
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "RAY_SERVE_ENABLE_HA_PROXY": "0",
        "RAY_SERVE_ENABLE_DIRECT_INGRESS": "0",
        "RAY_worker_niceness": "0",
        # How long a raylet waits for its runtime environment agent before it ends, which a busy machine may need.
        "RAY_agent_register_timeout_ms": "120000",
        # How long Ray waits for its dashboard before it ends all (60 s unless set): its parts import for as long there.
        "RAY_DASHBOARD_STARTUP_TIMEOUT_S": "300",
        # Ray kills replicas when the machine's memory is short. On a person's machine other programs have taken it.
        "RAY_memory_monitor_refresh_ms": "0",
        # How soon Ray says what a replica that can't be placed asks for and what there is (30 s unless set): nothing is
        # scaled up here, so there is nothing to wait for.
        "RAY_SERVE_SLOW_STARTUP_WARNING_S": "5",
        "RAY_SERVE_SLOW_STARTUP_WARNING_PERIOD_S": "5",
        "RAY_USAGE_STATS_ENABLED": "0",
        # Ray would start a worker for each logical CPU at once; here they outnumber the machine's.
        "RAY_prestart_worker_first_driver": "0",
        "AUTOSCALER_METRIC_PORT": str(ports[node.port("autoscaler-metrics")]),
        "DASHBOARD_METRIC_PORT": str(ports[node.port("dashboard-metrics")]),
        "TF_CPP_MIN_LOG_LEVEL": "2",
        "FAIRLEAD_WARM_START_FOLDER": str(where.warm_start(node.part)),
        # A store and a sink on this machine may be asked, which on a cluster the platform has to allow.
        "FAIRLEAD_SOURCE_NETWORKS": "127.0.0.0/8,::1/128",
        "FAIRLEAD_PAYLOAD_SINK_HOSTS": "localhost,127.0.0.1,::1",
        "FAIRLEAD_PAYLOAD_SINK_NETWORKS": "127.0.0.0/8,::1/128",
        "FAIRLEAD_PAYLOAD_SINK_CREDENTIALS": "*=localhost,127.0.0.1,::1",
        "FAIRLEAD_SOURCE_CREDENTIALS": "*=localhost,127.0.0.1,::1",
        "FAIRLEAD_SOURCE_SECRETS_DIR": str(where.source_secrets),
        # setproctitle writes over the environment of a process, by which we know ours.
        "SPT_NOENV": "1",
    }


def command(
    where: layout.Layout, ports: layout.Ports, chosen: options.Options, node: ray_node.Node = ray_node.HEAD
) -> processes.Command:
    """`--block` keeps the command as the parent of all: it ends when one of Ray's own processes dies."""
    argv = [
        # `ray start`, whose workers are forks of a process that has imported everything. -P: nothing is imported from
        # the folder that it happens to run in.
        sys.executable,
        "-P",
        "-m",
        "fairlead_ray_node.ray_start",
        "--head",
        "--block",
        "--node-ip-address=127.0.0.1",
        f"--port={ports[node.port('gcs')]}",
        "--include-dashboard=true",
        "--dashboard-host=127.0.0.1",
        f"--dashboard-port={ports[node.port('dashboard')]}",
        f"--dashboard-agent-listen-port={ports[node.port('agent-http')]}",
        f"--dashboard-agent-grpc-port={ports[node.port('agent-grpc')]}",
        f"--node-manager-port={ports[node.port('node-manager')]}",
        f"--object-manager-port={ports[node.port('object-manager')]}",
        f"--runtime-env-agent-port={ports[node.port('runtime-env-agent')]}",
        f"--metrics-export-port={ports[node.port('metrics')]}",
        # Workers take ports from the kernel's own range.
        "--min-worker-port=0",
        "--max-worker-port=0",
        f"--num-cpus={chosen.second_cpus if node == ray_node.SECOND else chosen.ray_cpus}",
        f"--object-store-memory={chosen.ray_object_store_bytes}",
        f"--temp-dir={where.ray_temp(node.part)}",
        "--include-log-monitor=false",
        "--disable-usage-stats",
        "--log-color=false",
    ]
    return processes.Command(
        argv=argv,
        log=where.log(node.part),
        environment=environment(where, ports, chosen, node),
        without=("RAY_", "OMP_NUM_THREADS"),
    )


def is_ready(where: layout.Layout, ports: layout.Ports, node: ray_node.Node = ray_node.HEAD) -> bool:
    """Whether Serve's REST API answers (later than the dashboard itself)."""
    headers = {"Authorization": f"Bearer {where.ray_token.read_text()}"}
    answered = loopback.get_status(
        ports[node.port("dashboard")], "/api/serve/applications/", headers=headers, timeout_s=30
    )
    return answered == http.HTTPStatus.OK
