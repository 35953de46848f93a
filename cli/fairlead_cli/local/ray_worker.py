"""Ray's second node, on an address of its own: it joins the head, and its replicas have their own directory."""

from __future__ import annotations

import http

from fairlead_cli.local import layout, loopback, options, processes, programs, ray_head, ray_node

PORTS = (
    "worker-node-manager",
    "worker-object-manager",
    "worker-agent-http",
    "worker-agent-grpc",
    "worker-runtime-env-agent",
    "worker-metrics",
    ray_node.WORKER.directory,
)


def command(where: layout.Layout, ports: layout.Ports, chosen: options.Options) -> processes.Command:
    """As the head's, without what only a head has."""
    argv = [
        programs.script("ray"),
        "start",
        "--block",
        f"--address=127.0.0.1:{ports['ray-gcs']}",
        f"--node-ip-address={ray_node.WORKER.host}",
        f"--dashboard-agent-listen-port={ports['worker-agent-http']}",
        f"--dashboard-agent-grpc-port={ports['worker-agent-grpc']}",
        f"--node-manager-port={ports['worker-node-manager']}",
        f"--object-manager-port={ports['worker-object-manager']}",
        f"--runtime-env-agent-port={ports['worker-runtime-env-agent']}",
        f"--metrics-export-port={ports['worker-metrics']}",
        "--min-worker-port=0",
        "--max-worker-port=0",
        f"--num-cpus={chosen.ray_cpus}",
        f"--object-store-memory={chosen.ray_object_store_bytes}",
        f"--temp-dir={where.ray_temp}",
        "--disable-usage-stats",
        "--log-color=false",
    ]
    environment = {
        **ray_head.environment(where, ports, chosen),
        **ray_node.variables(ray_node.WORKER, where, ports, chosen),
    }
    return processes.Command(
        argv=argv, log=where.log("worker"), environment=environment, without=("RAY_", "OMP_NUM_THREADS")
    )


def is_ready(where: layout.Layout, ports: layout.Ports) -> bool:
    """Whether its agent says that its raylet lives."""
    headers = {"Authorization": f"Bearer {where.ray_token.read_text()}"}
    answered = loopback.status_code(
        ports["worker-agent-http"], "/api/local_raylet_healthz", host=ray_node.WORKER.host, headers=headers
    )
    return answered == http.HTTPStatus.OK
