"""Ray's second node, on an address of its own: it joins the head, and its replicas have their own directory."""

from __future__ import annotations

import http
import sys

from fairlead_cli.local import layout, loopback, options, processes, ray_head, ray_node

PORTS = (
    "worker-node-manager",
    "worker-object-manager",
    "worker-agent-http",
    "worker-agent-grpc",
    "worker-runtime-env-agent",
    "worker-metrics",
    ray_node.WORKER.directory,
)
# The head's address in a form that Ray doesn't know as loopback: it would replace 127.0.0.1 by the machine's outer
# address, where the head doesn't listen. A connection to 0.0.0.0 goes to 127.0.0.1.
# Source: ray/_private/services.py, resolve_ip_for_localhost (2.60); ip(7).
_HEAD = "0.0.0.0"


def command(where: layout.Layout, ports: layout.Ports, chosen: options.Options) -> processes.Command:
    """As the head's, without what only a head has."""
    argv = [
        sys.executable,
        "-P",
        "-m",
        "fairlead_ray_node.ray_start",
        "--block",
        f"--address={_HEAD}:{ports['ray-gcs']}",
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
        f"--temp-dir={where.ray_temp()}",
        "--disable-usage-stats",
        "--log-color=false",
    ]
    environment = {
        **ray_head.environment(where, ports, chosen),
        **ray_node.variables(ray_node.WORKER, where, ports, chosen),
        # Ray joins no node where it takes the machine for a laptop, as the head is made to.
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "1",
        "FAIRLEAD_WARM_START_FOLDER": str(where.warm_start(ray_node.WORKER.part)),
    }
    return processes.Command(
        argv=argv, log=where.log("worker"), environment=environment, without=("RAY_", "OMP_NUM_THREADS")
    )


def is_ready(where: layout.Layout, ports: layout.Ports) -> bool:
    """Whether its agent says that its raylet lives."""
    headers = {"Authorization": f"Bearer {where.ray_token.read_text()}"}
    answered = loopback.get_status(
        ports["worker-agent-http"], "/api/local_raylet_healthz", host=ray_node.WORKER.host, headers=headers
    )
    return answered == http.HTTPStatus.OK
