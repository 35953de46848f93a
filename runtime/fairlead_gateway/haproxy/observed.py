"""What HAProxy was read to have: its answers on the runtime and master sockets, parsed. Pure.

Source: https://docs.haproxy.org/2.8/management.html#9.3
"""

import enum
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

_PLACE = re.compile(r"[pf]\d{4}")
_MAP_FILE = re.compile(r"-?\d+ \(([^)]+)\)")
_HELD = re.compile(r"\bkey=(\S+) .*\bconn_cur=(\d+)")

STATE_HEADER = (
    "1\n# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight srv_iweight "
    "srv_time_since_last_change srv_check_status srv_check_result srv_check_health srv_check_state srv_agent_state "
    "bk_f_forced_id srv_f_forced_id srv_fqdn srv_port srvrecord srv_use_ssl srv_check_port srv_check_addr "
    "srv_agent_addr srv_agent_port\n"
)

_FIRST_RESULT = 4
"""`srv_check_status`: 0 unknown, 1 initial, 2 started, 3 analysis; what is above is the result of a check."""

_MAINTENANCE = 0x23
"""`srv_admin_state`: forced, inherited, by name resolution. Not 4, which only remembers what the configuration said."""

_DRAIN = 0x18
"""`srv_admin_state`: forced, inherited."""


class Operation(enum.IntEnum):
    """`srv_op_state`."""

    STOPPED = 0
    STARTING = 1
    RUNNING = 2
    DRAINING = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """One replica's server as HAProxy has it. `line` is its line in `show servers state`.

    `is_drained`: a command set it to drain. A replica that answers its check with "draining" does not set this.
    """

    host: str
    port: int
    operation: Operation
    is_enabled: bool
    is_drained: bool
    is_checked: bool
    line: str

    @property
    def is_up(self) -> bool:
        """Whether HAProxy sends new requests to it."""
        return self.is_enabled and not self.is_drained and self.operation in (Operation.RUNNING, Operation.STARTING)

    @property
    def is_draining(self) -> bool:
        """Whether it gets no new request but may finish old ones: by its own check (404) or by a command."""
        is_up = self.operation in (Operation.RUNNING, Operation.STARTING)
        return self.is_enabled and (self.operation is Operation.DRAINING or (self.is_drained and is_up))


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """The worker that takes new connections, as it answered. `digest` is its configuration's description.

    `match_map` is None where the configuration asks for no name, and so has no such map; `backend_map` where the
    configuration is of another version, `key_map` and `token_map` where it takes no API keys or no tokens. The file of
    `token_map` says by its name which rules tokens are judged by. `held` counts by model the requests that were held
    and have no answer yet.
    """

    pid: int
    digest: str
    dropped_logs: int
    route_map: Mapping[str, str]
    version_map: Mapping[str, str]
    match_map: Mapping[str, str] | None
    backend_map: Mapping[str, str] | None
    key_map: Mapping[str, str] | None = None
    token_map: Mapping[str, str] | None = None
    token_file: str | None = None
    held: Mapping[str, int] = field(default_factory=dict)
    servers: Mapping[tuple[str, str], Server]


@dataclass(frozen=True, slots=True, kw_only=True)
class Processes:
    """The master's own list."""

    master: int | None
    worker: int | None
    old_workers: tuple[int, ...]


def parse_info(text: str) -> dict[str, str]:
    """`show info` as a mapping."""
    pairs = (line.partition(": ") for line in text.splitlines())
    return {key: value for key, separator, value in pairs if separator}


def parse_map(text: str) -> dict[str, str]:
    """`show map`: an address, the key, the value."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        fields = line.split(" ", 2)
        if len(fields) == 3 and fields[0].startswith("0x"):
            found[fields[1]] = fields[2]
    return found


def parse_map_files(text: str) -> tuple[str, ...]:
    """`show map` without a file: those that the configuration names."""
    return tuple(found[1] for line in text.splitlines() if (found := _MAP_FILE.match(line)))


def is_unknown_map(text: str) -> bool:
    """Whether `show map` was asked for a file that the configuration does not name."""
    return text.startswith("Unknown map identifier")


def parse_held(text: str) -> dict[str, int]:
    """`show table` of the held requests, by model; an older configuration has no such table."""
    pairs = ((found[1], int(found[2])) for line in text.splitlines() if (found := _HELD.search(line)))
    return {model: count for model, count in pairs if count > 0}


def parse_servers(text: str) -> dict[tuple[str, str], Server]:
    """`show servers state`, by backend and server; only of places."""
    found: dict[tuple[str, str], Server] = {}
    for line in text.splitlines():
        fields = line.split(" ")
        if len(fields) < 19 or not _PLACE.fullmatch(fields[1]):
            continue
        found[fields[1], fields[3]] = Server(
            host=fields[4],
            port=int(fields[18]),
            operation=Operation(int(fields[5])),
            is_enabled=int(fields[6]) & _MAINTENANCE == 0,
            is_drained=int(fields[6]) & _DRAIN != 0,
            is_checked=int(fields[10]) >= _FIRST_RESULT,
            line=line,
        )
    return found


def parse_processes(text: str) -> Processes:
    """`show proc` of the master."""
    section = ""
    master: int | None = None
    workers: dict[str, list[int]] = {}
    for line in text.splitlines():
        if line.startswith("# "):
            section = line[2:].strip()
        elif len(fields := line.split()) > 1 and fields[1] == "worker":
            workers.setdefault(section, []).append(int(fields[0]))
        elif len(fields) > 1 and fields[1] == "master":
            master = int(fields[0])
    current = workers.get("workers", [])
    return Processes(
        master=master,
        worker=current[-1] if current else None,
        old_workers=tuple(workers.get("old workers", [])),
    )


def parse_sessions(text: str) -> dict[int, int]:
    """`show stat -1 2 -1`: requests in flight by place; what is said of answers is in flight to the same replicas."""
    found: dict[int, int] = {}
    for line in text.splitlines():
        fields = line.split(",", 5)
        if len(fields) == 6 and fields[1] == "BACKEND" and _PLACE.fullmatch(fields[0]) and fields[4] != "0":
            place = int(fields[0][1:])
            found[place] = found.get(place, 0) + int(fields[4])
    return found
