"""HAProxy's configuration as text. Pure.

Paths are relative: HAProxy runs in the gateway's state directory, so their length never meets the limit of a socket's
path. Source: https://docs.haproxy.org/2.8/configuration.html
"""

import hashlib
import importlib.resources
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from fairlead_gateway import access_log, routes, settings
from fairlead_gateway.haproxy import access, tokens, tracing

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
HOLD_FILE = "hold.lua"
HOLD_TABLE = "hold"
RPC_SOCKET = "rpc.sock"
SERVER_CALLS_SOCKET = "calls.sock"
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

EXPOSED = (
    "x-fairlead-revision, x-fairlead-feedback, x-fairlead-replica, x-request-id, retry-after,"
    " inference-header-content-length"
)
"""Headers of answers that a page of another origin may read."""

GRPC_STATUS = {
    400: 3,
    401: 16,
    403: 7,
    404: 5,
    405: 12,
    408: 4,
    410: 14,
    411: 3,
    413: 8,
    414: 3,
    415: 12,
    417: 3,
    422: 9,
    429: 8,
    431: 8,
    500: 13,
    501: 12,
    502: 14,
    503: 14,
    504: 4,
}
"""What a refusal's status is for a gRPC client; every other one is 2, UNKNOWN.

Source: https://github.com/grpc/grpc/blob/master/doc/statuscodes.md
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the configuration depends on besides the routes."""

    version: str
    max_connections: int
    threads: int = 1
    allowed_origins: tuple[str, ...] = ()
    """Of web pages that may call from a browser; `*` stands for every one."""
    is_tls: bool = False
    """Whether clients of the data port use TLS, with the certificate in the file `access.TLS_FILE`."""
    has_api_keys: bool = False
    """Whether a client has to send a key that is in the map `access.KEY_MAP`."""
    tokens: settings.Tokens | None = None
    """Which tokens are accepted; None where clients send none."""
    token_keys: tuple[str, ...] = ()
    """The names of the keys that sign tokens: HAProxy reads keys at its start."""
    has_access_log: bool = False
    """Whether each line of the request log also describes the request."""
    traces_percent: float | None = None
    """Of requests without a valid `traceparent`, those that have a span; None where no request has one."""
    rate_limit: settings.RateLimit | None = None
    """How many requests a client may send; None where it is not limited."""
    internal: tuple[str, int] | None = None
    """Host and port for the operator and for replicas; None where they use the data port."""


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

    The description has, with dashes between, digests of the whole and of the names, the pool's size and the interval.
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


def hold_script() -> str:
    """What holds a request of a model without a replica, as Lua."""
    return importlib.resources.files(__package__).joinpath(HOLD_FILE).read_text()


def error_response(code: int) -> str:
    """What HAProxy answers on its own account, as the whole message that an `errorfile` holds."""
    title, reason = ERRORS[code]
    body = f'{{"error":"{reason}"}}'
    retry = "retry-after: 1\r\n" if code == 503 else ""
    return (
        f"HTTP/1.1 {code} {title}\r\ncontent-type: application/json\r\n{retry}content-length: {len(body)}\r\n\r\n{body}"
    )


def _longest_s(route: routes.Route) -> int:
    """How long a request may take in whole seconds, with its wait for the first replica."""
    return route.request_timeout_ms // 1000 + (route.hold.seconds if route.hold is not None else 0)


def _global(options: Options, digest: str, table: Iterable[routes.Route]) -> str:
    longest_s = max((_longest_s(route) for route in table), default=0)
    # An old worker lives as long as its longest request may; a step of a minute keeps the text stable.
    hard_stop_s = (longest_s // 60 + 2) * 60
    return f"""global
  master-worker
  description {digest}
  maxconn {options.max_connections + _calls_max(options)}
  # Where the system allows fewer descriptors, serve fewer connections and not none.
  no strict-limits
  nbthread {options.threads}
  stats socket unix@{RUNTIME_SOCKET} mode 600 level admin expose-fd listeners
  stats timeout 10s
  server-state-file {SERVERS_STATE}
  hard-stop-after {hard_stop_s}s
  tune.bufsize {BUFFER_BYTES}
  tune.http.maxhdr 100
  # One for the split, one for shadows, one for holds, one for the rate of a client, two for attempts without a key.
  tune.stick-counters 6
  lua-load {HOLD_FILE}
{tokens.load_line(options.tokens)}  # A slow start of checks would leave a new gateway without its replicas for seconds.
  spread-checks 0

"""


def _calls_max(options: Options) -> int:
    """How many gRPC calls may be under way: each takes a connection of its own besides its client's."""
    return max(1, options.max_connections // 2)


def _rules(options: Options, names: Names, shape: Shape) -> str:
    """The part that is the same for every table: `rules.cfg`, filled in."""
    values: dict[str, object] = {
        "ACCESS": f" {access_log.FORMAT}" if options.has_access_log else "",
        "BACKEND_MAP": BACKEND_MAP,
        "CALLS_MAX": _calls_max(options),
        "CHECK": check_text(shape.check_ms),
        "CLIENTS_MAX": options.max_connections,
        "UNSIZED_BYTES_MAX": UNSIZED_BYTES_MAX,
        "ERROR_FILES": "\n".join(f"  errorfile {code} {ERRORS_DIR}/{code}.http" for code in sorted(ERRORS)),
        "FEEDBACK_CHECK": check_text(FEEDBACK_INTERVAL_MS),
        "GRPC_STATUS": "\n".join(
            f"  http-response set-var(txn.grpc_status) int({code}) if {{ status {status} }}"
            for status, code in GRPC_STATUS.items()
        ),
        "BIND_TLS": f" ssl crt {access.TLS_FILE} alpn h2,http/1.1 ssl-min-ver TLSv1.2" if options.is_tls else "",
        "COPY_PORT": "%[dst_port]" if options.internal is None else options.internal[1],
        "HANDOVER_SOCKET": HANDOVER_SOCKET,
        "HOLD_TABLE": HOLD_TABLE,
        "LISTEN_FD_VARIABLE": LISTEN_FD_VARIABLE,
        "ORIGINS": "\n".join(origin_rules(options.allowed_origins)),
        "LOG_FD_VARIABLE": LOG_FD_VARIABLE,
        "MATCHES": "\n".join(_match_rules(names)),
        "ROUTE_MAP": ROUTE_MAP,
        "RPC_SOCKET": RPC_SOCKET,
        "SERVER_CALLS_SOCKET": SERVER_CALLS_SOCKET,
        "SPLIT_STEP": SPLIT_STEP,
        "STICKY": "\n".join(_sticky_rules(names)),
        "VERSION": options.version,
        "VERSION_MAP": VERSION_MAP,
        "WEIGHT_SCALE": routes.WEIGHT_SCALE,
    }
    values.update(access.internal_texts(None if options.internal is None else address_text(*options.internal)))
    is_known = options.has_api_keys or options.tokens is not None
    by_token = tokens.lookup_text(options.tokens, options.token_keys, has_api_keys=options.has_api_keys)
    values.update(access.authentication_texts(has_api_keys=options.has_api_keys, by_token=by_token))
    values.update(access.rate_limit_texts(options.rate_limit, is_authenticated=is_known))
    values.update(tracing.rule_texts(options.traces_percent, has_access_log=options.has_access_log))
    template = importlib.resources.files(__package__).joinpath("rules.cfg").read_text()
    return re.sub("@([A-Z_]+)@", lambda match: str(values[match[1]]), template)


def origin_rules(origins: Sequence[str]) -> Iterator[str]:
    """What browsers ask before and read after a call from another origin; nothing where none is allowed.

    Source: https://fetch.spec.whatwg.org/#http-cors-protocol
    """
    if not origins:
        return
    is_every = "*" in origins
    matched = "-m found" if is_every else f"-m str {' '.join(origins)}"
    # The whole header, `fhdr`: of a value with commas `hdr` gives the last part alone.
    value = "*" if is_every else "%[var(txn.origin)]"
    yield "  http-request set-var(txn.origin) req.fhdr(origin) if !is_call"
    yield f"  acl is_from_page var(txn.origin) {matched}"
    yield (
        '  http-request return status 204 hdr access-control-allow-methods "GET, POST" hdr access-control-max-age 600'
        " hdr access-control-allow-headers %[req.fhdr(access-control-request-headers)]"
        " if is_from_page METH_OPTIONS { req.hdr(access-control-request-method) -m found }"
    )
    yield f"  http-after-response set-header access-control-allow-origin {value} if is_from_page"
    yield f'  http-after-response set-header access-control-expose-headers "{EXPOSED}" if is_from_page'
    if not is_every:
        # Also where no page asks: a cache must not give a page an answer that lacks the permission.
        yield "  http-after-response add-header vary origin if !is_call { var(txn.start_us) -m found }"


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
