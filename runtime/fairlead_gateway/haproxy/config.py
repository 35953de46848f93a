"""HAProxy's configuration as text. Pure.

Paths are relative: HAProxy runs in the gateway's state directory, so their length never meets the limit of a socket's
path. Source: https://docs.haproxy.org/2.8/configuration.html
"""

import hashlib
import importlib.resources
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from fairlead_gateway import routes

LOG_FD_VARIABLE = "FAIRLEAD_LOG_FD"
LISTEN_FD_VARIABLE = "FAIRLEAD_LISTEN_FD"
CONFIG_FILE = "haproxy.cfg"
ROUTE_MAP = "route.map"
VERSION_MAP = "version.map"
MATCH_MAP = "match.map"
SERVERS_STATE = "servers.state"
RUNTIME_SOCKET = "runtime.sock"
MASTER_SOCKET = "master.sock"
HANDOVER_SOCKET = "handover.sock"
ERRORS_DIR = "errors"

HEALTH_INTERVAL_MS = 500
CHECKS_PER_S = 1000
"""What is spent at most on looking for replicas at ports where there is none."""

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


def names_of(table: Iterable[routes.Route]) -> Names:
    """What these routes ask for."""
    table = tuple(table)
    matches = [match for route in table for match in route.matches]
    return Names(
        headers=frozenset(match.name for match in matches if match.kind is routes.MatchKind.HEADER),
        cookies=frozenset(match.name for match in matches if match.kind is routes.MatchKind.COOKIE),
        sticky=frozenset(route.sticky_header for route in table if route.sticky_header is not None),
    )


def backend_name(model: str, revision: str) -> str:
    """The name of a revision's backend."""
    return f"rev_{model}_{revision}"


def feedback_name(model: str, revision: str) -> str:
    """The name of the backend that gives what people say of a revision's answers to its replicas."""
    return f"fb_{model}_{revision}"


def match_suffix(kind: routes.MatchKind, name: str, model: str) -> str:
    """What follows the value, in hexadecimal digits, in a key of the map of matches."""
    return f"/{kind}/{name}/{model}"


def server_name(index: int) -> str:
    """The name of a slot, by its distance from the range's first port."""
    return f"s{index}"


def build_config(table: Sequence[routes.Route], names: Names, options: Options) -> tuple[str, str]:
    """The configuration and its digest, which HAProxy carries as its description: what runs can be asked for it.

    Behind the dash the digest says which names of headers and cookies the configuration has.
    """
    body = _rules(options, names, table) + "\n" + _backends(table)
    digest = hashlib.sha256((_global(options, "", table) + body).encode()).hexdigest()[:16] + "-" + names.digest
    return _global(options, digest, table) + body, digest


def error_response(code: int) -> str:
    """What HAProxy answers on its own account, as the whole message that an `errorfile` holds."""
    title, reason = ERRORS[code]
    body = f'{{"error":"{reason}"}}'
    retry = "retry-after: 1\r\n" if code == 503 else ""
    return (
        f"HTTP/1.1 {code} {title}\r\ncontent-type: application/json\r\n{retry}content-length: {len(body)}\r\n\r\n{body}"
    )


def _down_interval_ms(table: Iterable[routes.Route]) -> int:
    """How often a port without a replica is looked at: quick while there are few of them, bounded in sum.

    In steps, so that one more revision seldom changes the configuration of the others.
    """
    slots = sum(revision.ports for route in table for revision in route.revisions)
    for step in (100, 250, 500, 1000, 2500):
        if slots * 1000 <= CHECKS_PER_S * step:
            return step
    return 5000


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


def _rules(options: Options, names: Names, table: Iterable[routes.Route]) -> str:
    """The part that is the same for every table: `rules.cfg`, filled in."""
    values = {
        "UNSIZED_BYTES_MAX": UNSIZED_BYTES_MAX,
        "DOWN_INTERVAL_MS": _down_interval_ms(table),
        "ERROR_FILES": "\n".join(f"  errorfile {code} {ERRORS_DIR}/{code}.http" for code in sorted(ERRORS)),
        "HANDOVER_SOCKET": HANDOVER_SOCKET,
        "HEALTH_INTERVAL_MS": HEALTH_INTERVAL_MS,
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


def _backends(table: Iterable[routes.Route]) -> str:
    lines: list[str] = []
    for route in table:
        for revision in route.revisions:
            lines.append(f"backend {backend_name(route.model, revision.name)} from revision")
            uri = f"/-/healthz/{revision.name}"
            lines.append(f"  http-check send meth GET uri {uri} ver HTTP/1.1 hdr host fairlead")
            # Whether a slot is looked at comes from the state file alone: `disabled` here, lifted there, would make the
            # server count as up before its first check.
            lines.extend(
                f"  server {server_name(index)} {revision.host}:{revision.first_port + index}"
                for index in range(revision.ports)
            )
            lines.append("")
            lines.append(f"backend {feedback_name(route.model, revision.name)} from feedback")
            checked = backend_name(route.model, revision.name)
            lines.extend(
                f"  server {server_name(index)} {revision.host}:{revision.first_port + index}"
                f" track {checked}/{server_name(index)}"
                for index in range(revision.ports)
            )
            lines.append("")
    return "\n".join(lines) + "\n"
