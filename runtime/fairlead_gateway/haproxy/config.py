"""HAProxy's configuration as text. Pure.

Paths are relative: HAProxy runs in the gateway's state directory, so their length never meets the limit of a socket's
path. Source: https://docs.haproxy.org/2.8/configuration.html
"""

import hashlib
import importlib.resources
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from fairlead_gateway import routes

LOG_FD_VARIABLE = "FAIRLEAD_LOG_FD"
LISTEN_FD_VARIABLE = "FAIRLEAD_LISTEN_FD"
CONFIG_FILE = "haproxy.cfg"
ROUTE_MAP = "route.map"
VERSION_MAP = "version.map"
MATCH_MAP = "match.map"
BACKEND_MAP = "backend.map"
SERVERS_STATE = "servers.state"
RUNTIME_SOCKET = "runtime.sock"
MASTER_SOCKET = "master.sock"
HANDOVER_SOCKET = "handover.sock"
ERRORS_DIR = "errors"

CHECKS_PER_S = 1000
"""What is spent on checks, most of it: each takes 66 to 98 µs of a core (docs/measurements.md)."""

CHECK_INTERVALS_MS = (500, 1000, 2000, 5000)
FEEDBACK_INTERVAL_MS = 10_000
"""Feedback is rare, and a server that the first look found up is taken away by the node's directory when it goes."""

BUFFER_BYTES = 65_536
UNSIZED_BYTES_MAX = BUFFER_BYTES // 2
"""Of a request without a length, head and body: what fits the buffer for certain, so that the body is there whole when
its length is taken. The other half is for what HAProxy notes beside the bytes."""

SPLIT_STEP = 6181
"""Coprime to the weight's scale and near its golden section: any 10,000 requests in a row meet each share once, and
few in a row are already spread evenly."""

ERRORS = {
    400: ("Bad Request", "the request is not valid HTTP or its headers are too large"),
    408: ("Request Timeout", "the request did not arrive in time"),
    413: ("Payload Too Large", "the request is too large"),
    500: ("Internal Server Error", "the gateway could not handle the request"),
    502: ("Bad Gateway", "the replica did not give a valid answer"),
    503: ("Service Unavailable", "no replica of this revision could take the request"),
    504: ("Gateway Timeout", "the replica did not answer within requestTimeoutSeconds"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the configuration depends on besides the routes."""

    version: str
    max_connections: int
    threads: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What the configuration holds besides rules: `pool` places, checked each `check_ms` milliseconds."""

    pool: int
    check_ms: int

    @property
    def text(self) -> str:
        return f"{self.pool}-{self.check_ms}"


@dataclass(frozen=True, slots=True, kw_only=True)
class StaticServer:
    """A server that a new worker has from its start."""

    name: str
    host: str
    port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """The headers and cookies that requests are asked for: HAProxy takes a name from its configuration alone.

    What each model compares with is state, and so is which model asks for which: a name that no model uses costs
    nothing, so it may stay until another reload is due.
    """

    headers: frozenset[str] = frozenset()
    cookies: frozenset[str] = frozenset()
    sticky: frozenset[str] = frozenset()

    def __or__(self, other: "Names") -> "Names":
        return Names(
            headers=self.headers | other.headers,
            cookies=self.cookies | other.cookies,
            sticky=self.sticky | other.sticky,
        )

    @property
    def digest(self) -> str:
        """Names this set."""
        text = repr((sorted(self.headers), sorted(self.cookies), sorted(self.sticky)))
        return hashlib.sha256(text.encode()).hexdigest()[:8]


def find_names(table: Iterable[routes.Route]) -> Names:
    """What these routes ask for."""
    table = tuple(table)
    matches = [match for route in table for match in route.matches]
    return Names(
        headers=frozenset(match.name for match in matches if match.kind is routes.MatchKind.HEADER),
        cookies=frozenset(match.name for match in matches if match.kind is routes.MatchKind.COOKIE),
        sticky=frozenset(route.sticky_header for route in table if route.sticky_header is not None),
    )


def backend_name(place: int) -> str:
    """The backend of a place, for predictions."""
    return f"p{place:04d}"


def feedback_name(place: int) -> str:
    """The backend of a place for what people say of the answers."""
    return f"f{place:04d}"


def place_value(place: int) -> str:
    """The place in the map of backends: both names without their first letter."""
    return f"{place:04d}"


def parse_place(backend: str) -> int | None:
    """The place of a backend; None when it is none of a place."""
    return int(backend[1:]) if backend[:1] in ("p", "f") and backend[1:].isdigit() else None


def address_text(host: str, port: int) -> str:
    """An address of a server."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def server_id(name: str) -> int:
    """The id of a replica's server, the same on every gateway: consistent hashing goes by it."""
    return int(hashlib.sha256(name.encode()).hexdigest()[:8], 16) % (2**31 - 1) + 1


def check_text(check_ms: int) -> str:
    """How a server of a place is checked, as keywords of a `server` line.

    A failed connection or check is looked into at once; between two looks a connection that fails takes a server out.
    """
    return (
        f"check inter {check_ms}ms fastinter 100ms downinter 100ms fall 3 rise 1 observe layer4 error-limit 3"
        " on-error mark-down"
    )


def check_interval_ms(servers: int, running_ms: int) -> int:
    """How often a server is looked at, so that all of them together stay within what is spent on it.

    It becomes slower as soon as it must and quicker only well below that, for each change is a reload.
    """
    needed = next(
        (step for step in CHECK_INTERVALS_MS if servers * 1000 <= CHECKS_PER_S * step), CHECK_INTERVALS_MS[-1]
    )
    eased = next((step for step in CHECK_INTERVALS_MS if servers * 2000 <= CHECKS_PER_S * step), CHECK_INTERVALS_MS[-1])
    return needed if needed >= running_ms else min(running_ms, eased)


def match_suffix(kind: routes.MatchKind, name: str, model: str) -> str:
    """What follows the value, in hexadecimal digits, in a key of the map of matches."""
    return f"/{kind}/{name}/{model}"


def build_config(table: Sequence[routes.Route], names: Names, options: Options, shape: Shape) -> tuple[str, str]:
    """The configuration without servers, and what HAProxy carries as its description: what runs can be asked for it.

    The description is a digest of the whole, of the names of headers and cookies, the pool's size and the interval of
    checks, with dashes between them.
    """
    body = _rules(options, names, shape) + "\n"
    digest = hashlib.sha256((_global(options, "", table) + body + shape.text).encode()).hexdigest()[:16]
    description = f"{digest}-{names.digest}-{shape.text}"
    return _global(options, description, table) + body, description


def parse_shape(description: str) -> Shape | None:
    """The shape in a description; None when the configuration is not one of this version's."""
    fields = description.split("-")
    if len(fields) != 4 or not fields[2].isdigit() or not fields[3].isdigit():
        return None
    return Shape(pool=int(fields[2]), check_ms=int(fields[3]))


def pool_text(shape: Shape, servers: Mapping[str, Sequence[StaticServer]]) -> str:
    """The places, with the servers of each backend that are to be there from the start."""
    lines: list[str] = []
    for place in range(1, shape.pool + 1):
        for backend, kind in ((backend_name(place), "revision"), (feedback_name(place), "feedback")):
            lines.append(f"backend {backend} from {kind}")
            lines.extend(
                f"  server {server.name} {address_text(server.host, server.port)} id {server_id(server.name)}"
                for server in servers.get(backend, ())
            )
    return "\n".join(lines) + "\n"


def error_response(code: int) -> str:
    """What HAProxy answers on its own account, as the whole message that an `errorfile` holds."""
    title, reason = ERRORS[code]
    body = f'{{"error":"{reason}"}}'
    retry = "retry-after: 1\r\n" if code == 503 else ""
    return (
        f"HTTP/1.1 {code} {title}\r\ncontent-type: application/json\r\n{retry}content-length: {len(body)}\r\n\r\n{body}"
    )


def _global(options: Options, digest: str, table: Iterable[routes.Route]) -> str:
    longest_s = max((route.request_timeout_ms for route in table), default=0) // 1000
    # An old worker lives as long as its longest request may; a step of a minute keeps the text stable.
    hard_stop_s = (longest_s // 60 + 2) * 60
    return f"""global
  master-worker
  description {digest}
  maxconn {options.max_connections}
  # Where the system allows fewer descriptors, serve fewer connections and not none.
  no strict-limits
  nbthread {options.threads}
  stats socket unix@{RUNTIME_SOCKET} mode 600 level admin expose-fd listeners
  stats timeout 10s
  server-state-file {SERVERS_STATE}
  hard-stop-after {hard_stop_s}s
  tune.bufsize {BUFFER_BYTES}
  tune.http.maxhdr 100
  # A slow start of checks would leave a new gateway without its replicas for seconds.
  spread-checks 0

"""


def _rules(options: Options, names: Names, shape: Shape) -> str:
    """The part that is the same for every table: `rules.cfg`, filled in."""
    values = {
        "BACKEND_MAP": BACKEND_MAP,
        "CHECK": check_text(shape.check_ms),
        "UNSIZED_BYTES_MAX": UNSIZED_BYTES_MAX,
        "ERROR_FILES": "\n".join(f"  errorfile {code} {ERRORS_DIR}/{code}.http" for code in sorted(ERRORS)),
        "FEEDBACK_CHECK": check_text(FEEDBACK_INTERVAL_MS),
        "HANDOVER_SOCKET": HANDOVER_SOCKET,
        "LISTEN_FD_VARIABLE": LISTEN_FD_VARIABLE,
        "LOG_FD_VARIABLE": LOG_FD_VARIABLE,
        "MATCHES": "\n".join(_match_rules(names)),
        "ROUTE_MAP": ROUTE_MAP,
        "SPLIT_STEP": SPLIT_STEP,
        "STICKY": "\n".join(_sticky_rules(names)),
        "VERSION": options.version,
        "VERSION_MAP": VERSION_MAP,
        "WEIGHT_SCALE": routes.WEIGHT_SCALE,
    }
    template = importlib.resources.files(__package__).joinpath("rules.cfg").read_text()
    return re.sub("@([A-Z_]+)@", lambda match: str(values[match[1]]), template)


def _match_rules(names: Names) -> Iterator[str]:
    """One rule a name. The value is looked up in hexadecimal digits, so that no character of it means anything."""
    for kind, fetch, listed in (
        (routes.MatchKind.HEADER, "req.fhdr", names.headers),
        (routes.MatchKind.COOKIE, "req.cook", names.cookies),
    ):
        for name in sorted(listed):
            key = f"{fetch}({name}),hex,concat({match_suffix(kind, name, '')},txn.model)"
            yield f"  http-request set-var(txn.matched) {key},map_str({MATCH_MAP}) if has_matches !is_decided"


def _sticky_rules(names: Names) -> Iterator[str]:
    for name in sorted(names.sticky):
        asked = f"!is_decided {{ var(txn.route),field(7,:) -m str {name} }}"
        yield f"  http-request set-var(txn.key) req.fhdr({name}) if {asked}"
