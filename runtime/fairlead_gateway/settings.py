"""What a gateway is started with."""

import ipaddress
import re
from dataclasses import dataclass
from pathlib import Path

ORIGIN = re.compile(r"[*]|https?://([a-z0-9]([a-z0-9.-]*[a-z0-9])?|\[[0-9a-f:.]+\])(:[1-9][0-9]{0,4})?")
ORIGIN_CHARACTERS_MAX = 300
ORIGINS_MAX = 32
"""A line of HAProxy's configuration has at most 64 words."""

ENDPOINT = re.compile(r"https?://[^\s/?#@]+(/[^\s?#]*)?")
ENDPOINT_CHARACTERS_MAX = 300
PERCENT = re.compile(r"[0-9]{1,3}(\.[0-9]{1,20})?(e-[0-9]{1,3})?")

_DEFAULT_PORTS = (("http://", ":80"), ("https://", ":443"))
CLUSTER_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """A host and port to listen on."""

    host: str
    port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One Ray node: its cluster's name within the namespace, and where its directory answers."""

    cluster: str
    host: str
    port: int

    @property
    def address(self) -> str:
        """`HOST:PORT`, as in a URL."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


RATE_MAX = 100_000
"""Requests per second of a client."""

BURST_SECONDS = (0.1, 60.0)
"""The time in which a client gets its whole burst back: the least and the most."""


ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384")
"""Of signatures of tokens: those with a public key, which needs no secret here."""

AUDIENCES_MAX = 16
CLAIMS_MAX = 8
CLAIM_VALUES_MAX = 16
CLOCK_SKEW_S = 60
CLOCK_SKEW_S_MAX = 300
TOKEN_TEXT = re.compile(r"[A-Za-z0-9._~:/?#@!&()*+,;=%|-]{1,300}")
"""An issuer, an audience, a claim's name or value: the characters of a URI, and none that is special in HAProxy's
configuration within quotation marks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimit:
    """How many requests a client may send: on average per second, and at once after a pause."""

    requests_per_second: int
    burst: int

    @property
    def period_ms(self) -> int:
        """In any time as long as this a client may send `burst` requests."""
        return self.burst * 1000 // self.requests_per_second


@dataclass(frozen=True, slots=True, kw_only=True)
class RequiredClaim:
    """A claim that each token must have with one of the values: as text, or in a list; `scope` as words."""

    name: str
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """Which JSON Web Tokens are accepted: the file with the keys of their issuer, and what they must claim."""

    jwks: Path
    issuer: str
    audiences: tuple[str, ...]
    algorithms: tuple[str, ...] = ALGORITHMS
    clock_skew_s: int = CLOCK_SKEW_S
    required_claims: tuple[RequiredClaim, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsFiles:
    """Where the certificate of the data port is: PEM files, the certificate with its chain, and its private key."""

    certificate: Path
    key: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Traces:
    """The collector of spans, and the percentage of the requests without a valid `traceparent` that have one.

    `ca_file` holds authorities that are trusted for the collector, beside those of the system.
    """

    endpoint: str
    sample_percent: float
    ca_file: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """One gateway: where it listens, where it keeps its state, where its routes come from."""

    listen: Address
    admin: Address
    state_dir: Path
    namespace: str
    kubeconfig: Path | None
    routes_file: Path | None
    haproxy: Path
    gateway_id: str
    allowed_origins: tuple[str, ...] = ()
    internal_port: int | None = None
    """The port at the address of `listen` for the operator and for replicas; without TLS and authentication."""
    tls: TlsFiles | None = None
    has_access_log: bool = False
    traces: Traces | None = None
    """Where spans are sent to; None where there are none."""
    rate_limit: RateLimit | None = None
    api_keys: Path | None = None
    """A folder with a file for each client, which holds its keys; None where clients need no key."""
    tokens: Tokens | None = None
    """Which JSON Web Tokens are accepted; None where clients send none."""
    nodes: tuple[Node, ...] = ()
    discover_nodes: bool = False
    threads: int = 1
    max_connections: int = 4000
    relist_s: float = 120.0
    pass_interval_s: float = 5.0
    stop_grace_s: float = 30.0
    stop_delay_s: float = 5.0


def parse_address(text: str) -> Address:
    """Read `HOST:PORT`.

    Raises:
        ValueError: when the text has another form or the port is not 1 to 65535.
    """
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise ValueError(f"{text!r} is not HOST:PORT with a port from 1 to 65535")
    return Address(host=host.strip("[]"), port=int(port))


def parse_port(text: str) -> int:
    """Read a port.

    Raises:
        ValueError: when the text is no number from 1 to 65535.
    """
    if not text.isdecimal() or not 0 < int(text) < 65536:
        raise ValueError(f"{text!r} is not a port from 1 to 65535")
    return int(text)


def parse_rate_limit(text: str) -> RateLimit:
    """Read `RATE` or `RATE:BURST`.

    Raises:
        ValueError: when the text has another form or a number is out of its bounds.
    """
    rate, colon, burst = text.partition(":")
    if not rate.isdecimal() or (colon and not burst.isdecimal()) or not 0 < int(rate) <= RATE_MAX:
        raise ValueError(f"{text!r} is not RATE or RATE:BURST with a rate from 1 to {RATE_MAX} requests per second")
    found = RateLimit(requests_per_second=int(rate), burst=int(burst) if colon else int(rate))
    least, most = BURST_SECONDS
    if not found.burst or not least <= found.burst / found.requests_per_second <= most:
        raise ValueError(
            f"{text!r}: the burst must be from a tenth of the rate, and at least 1, to {most:g} times the rate"
        )
    return found


def parse_token_text(text: str) -> str:
    """Read an issuer or an audience of tokens; it stands in HAProxy's configuration.

    Raises:
        ValueError: when the text has another form.
    """
    if TOKEN_TEXT.fullmatch(text) is None:
        raise ValueError(f"{text[:100]!r} must be 1 to 300 letters, digits and characters of ._~:/?#@!&()*+,;=%|-")
    return text


def parse_required_claim(text: str) -> RequiredClaim:
    """Read `NAME VALUE…`, with spaces between.

    Raises:
        ValueError: when the text has another form.
    """
    name, *values = text.split(" ")
    if not 1 <= len(values) <= CLAIM_VALUES_MAX:
        raise ValueError(f"{text[:100]!r} must be the name of a claim and 1 to {CLAIM_VALUES_MAX} values after it")
    return RequiredClaim(name=parse_token_text(name), values=tuple(parse_token_text(each) for each in values))


def parse_clock_skew(text: str) -> int:
    """Read a number of seconds.

    Raises:
        ValueError: when the text is no number, or too large.
    """
    if not text.isdecimal() or int(text) > CLOCK_SKEW_S_MAX:
        raise ValueError(f"{text!r} is not a number of seconds from 0 to {CLOCK_SKEW_S_MAX}")
    return int(text)


def parse_endpoint(text: str) -> str:
    """Read the URL of a collector.

    Raises:
        ValueError: when the text has another form.
    """
    if len(text) > ENDPOINT_CHARACTERS_MAX or ENDPOINT.fullmatch(text) is None:
        raise ValueError(f"{text[:100]!r} is no URL such as http://collector:4318 or https://collector:4318")
    return text


def parse_percent(text: str) -> float:
    """Read a percentage.

    Raises:
        ValueError: when the text is no number from 0 to 100.
    """
    if PERCENT.fullmatch(text) is None or float(text) > 100:
        raise ValueError(f"{text[:100]!r} is not a number from 0 to 100")
    return float(text)


def parse_origin(text: str) -> str:
    """Read an origin as browsers send it, or `*`; it stands in HAProxy's configuration.

    Raises:
        ValueError: when the text has another form.
    """
    if len(text) > ORIGIN_CHARACTERS_MAX or ORIGIN.fullmatch(text) is None:
        raise ValueError(f"{text[:100]!r} is neither * nor an origin such as https://app.example.org")
    for scheme, port in _DEFAULT_PORTS:
        if text.startswith(scheme) and text.endswith(port):
            raise ValueError(f"{text!r}: browsers leave out the default port; write {text.removesuffix(port)}")
    return text


def parse_node(text: str) -> Node:
    """Read `CLUSTER=HOST:PORT`.

    Raises:
        ValueError: when the text has another form; the host must be an IP address.
    """
    cluster, _, address = text.partition("=")
    host, _, port = address.rpartition(":")
    if CLUSTER_NAME.fullmatch(cluster) is None or not port.isdigit() or not 0 < int(port) < 65536:
        raise ValueError(f"{text!r} is not CLUSTER=HOST:PORT with a port from 1 to 65535")
    try:
        found = ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        raise ValueError(f"{text!r}: the host must be an IP address, not a name") from None
    return Node(cluster=cluster, host=str(found), port=int(port))
