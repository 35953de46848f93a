"""Which hosts a model may be read from, and the one way in which a fetch connects to them.

The platform sets the rules: hosts by name, and the networks whose addresses may be asked although they are not public.
A name is resolved once, and the connection goes to the address that was checked.
"""

from __future__ import annotations

import base64
import ipaddress
import re
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from fairlead_runtime.errors import LoadError, LoadReason
from fairlead_runtime.model.fetching import host_patterns
from fairlead_runtime.model.fetching.purposes import MODELS, Purpose
from fairlead_runtime.model.fetching.secret_hosts import SecretHosts
from fairlead_spans import lookup

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

PROXY_HEAD_BYTES_MAX = 64 * 1024
ADDRESSES_MAX = 8
"""How many addresses of one name are tried."""
# Public addresses, or private ones outside the link-local range, at which clouds have their metadata services: Azure's
# wire server, Alibaba, Oracle, and those of AWS (instances, pod identity) and Google over IPv6.
_METADATA = tuple(
    ipaddress.ip_network(each)
    for each in ("168.63.129.16/32", "100.100.100.200/32", "192.0.0.192/32", "fd00:ec2::/32", "fd20:ce::254/128")
)
# Not for the public, though not all of each counts as private: site-local addresses, and translation to IPv4 by rules
# of the own network. Source: RFC 3879, 8215
_LOCAL = (ipaddress.IPv6Network("fec0::/10"), ipaddress.IPv6Network("64:ff9b:1::/48"))
# Networks of IPv6 in which an IPv4 address is carried, with the bits that follow it. Source: RFC 6052, 4291, 3056
_CARRIERS = (
    (ipaddress.IPv6Network("64:ff9b::/96"), 0),
    (ipaddress.IPv6Network("64:ff9b:1::/48"), 0),
    (ipaddress.IPv6Network("::ffff:0:0/96"), 0),
    (ipaddress.IPv6Network("::/96"), 0),
    (ipaddress.IPv6Network("2002::/16"), 80),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Proxy:
    """The proxy for `https`: where it is, what it wants to hear of us, and the hosts that are asked without it."""

    host: str
    port: int
    authorization: str | None = None
    excluded: Sequence[str] = ()

    def serves(self, host: str) -> bool:
        """Whether a connection to the host goes through the proxy."""
        return not any(_is_excluded(host, each) for each in self.excluded)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outbound:
    """The rules. `hosts` are names, or `*.` and the end of names; without any, every host may be asked for models.

    `networks` are those whose addresses may be asked although they are loopback, private or otherwise not public.
    Link-local addresses and those of metadata services are never asked. With a `secret`, which each request may have
    with it, only its own hosts are. With `is_public_only` no network counts, and no name that a proxy would resolve.
    """

    hosts: Sequence[str] = ()
    networks: Sequence[Network] = ()
    proxy: Proxy | None = None
    secret: SecretHosts | None = None
    is_public_only: bool = False
    purpose: Purpose = MODELS

    def check_host(self, host: str) -> None:
        """Raises LoadError (ModelForbidden) for a host that is not listed for the purpose, or not for the Secret."""
        to = self.purpose
        if (self.hosts or to.is_opt_in) and not host_patterns.match_any(host, self.hosts):
            raise LoadError(
                LoadReason.MODEL_FORBIDDEN,
                f"{to.subject} are not {to.verb} {host}: it is not among the allowed hosts "
                f"({to.field}.allowedHosts of the ServingClass, {to.variable}_HOSTS of the Ray node)",
            )
        if self.secret is not None:
            self.secret.check(host)

    def connect(self, host: str, port: int, *, is_tls: bool, timeout_s: float) -> socket.socket:
        """A connection to a host that was checked, through the proxy where there is one for it. TLS is the caller's."""
        self.check_host(host)
        if is_tls and self.proxy is not None and self.proxy.serves(host):
            # A name is the proxy's to resolve; an address is ours to check.
            _check_plain(host)
            self._check_literal(host)
            if self.is_public_only and _parse(host) is None:
                raise LoadError(
                    LoadReason.MODEL_FORBIDDEN,
                    f"{host} is asked through a proxy, so that nothing says whether its address is public: "
                    "spec.sources.allowedHosts of the ServingClass must list it, as another server chose it",
                )
            return _tunnel(self.proxy, host, port, timeout_s)
        return self._connect(host, port, timeout_s)

    def check_credentials_in_clear(self, address: str, what: str) -> None:
        """Raises LoadError (ModelForbidden) unless the address, asked without TLS, is in a network that is listed."""
        ip, to = _parse(address), self.purpose
        if ip is None or not _is_within(ip, self.networks):
            raise LoadError(
                LoadReason.MODEL_FORBIDDEN,
                f"{what}: {to.named_by} takes an https address, as everyone on the way could read "
                f"the credentials (http is taken only to {to.field}.allowedNetworks of the ServingClass)",
            )

    def _connect(self, host: str, port: int, timeout_s: float) -> socket.socket:
        return _dial(host, port, timeout_s, lambda address: self._check_literal(address, host))

    def _check_literal(self, address: str, host: str | None = None) -> None:
        """Raises LoadError for an address that is not asked; what is a name passes."""
        ip = _parse(address)
        if ip is None:
            return
        found, to = (ip, *_carried(ip)), self.purpose
        if any(each.is_link_local or each.is_multicast or each.is_unspecified for each in found) or any(
            _is_within(each, _METADATA) for each in found
        ):
            raise LoadError(
                LoadReason.MODEL_FORBIDDEN,
                f"{host or address} is a link-local, multicast or otherwise reserved address, which {to.subject} are "
                f"never {to.verb}",
            )
        if self.is_public_only and not all(_is_public(each) for each in found):
            raise LoadError(
                LoadReason.MODEL_FORBIDDEN,
                f"{host or address} is not a public address: spec.sources.allowedHosts of the ServingClass must list "
                "the host, as another server chose it",
            )
        if not all(_is_public(each) or _is_within(each, self.networks) for each in found):
            raise LoadError(
                LoadReason.MODEL_FORBIDDEN,
                f"{host or address} is not a public address, and in no network that {to.subject} may be {to.verb} "
                f"({to.field}.allowedNetworks of the ServingClass, {to.variable}_NETWORKS of the Ray node)",
            )


def is_public(address: str) -> bool:
    """Whether it is an address that everyone on the internet can ask."""
    ip = _parse(address)
    return ip is not None and all(_is_public(each) for each in (ip, *_carried(ip)))


def parse_networks(text: str, purpose: Purpose = MODELS) -> tuple[Network, ...]:
    """Networks as in `10.0.0.0/8, fd00::/8`; raises LoadError (NodeMisconfigured)."""
    try:
        return tuple(ipaddress.ip_network(each, strict=False) for each in host_patterns.split(text))
    except ValueError as error:
        raise host_patterns.setting_error(
            f"{purpose.variable}_NETWORKS", f"{error}; it must be networks, as in 10.0.0.0/8"
        ) from None


def parse_hosts(text: str, purpose: Purpose = MODELS) -> tuple[str, ...]:
    """Hosts as in `models.example.org, *.example.net`; raises LoadError (NodeMisconfigured)."""
    return host_patterns.parse(text, f"{purpose.variable}_HOSTS")


def parse_proxy(url: str, excluded: str) -> Proxy | None:
    """The proxy that `HTTPS_PROXY` and `NO_PROXY` describe; raises LoadError (NodeMisconfigured)."""
    if not url:
        return None
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        host, port = parts.hostname, parts.port or 80
    except ValueError:
        host, port = None, 0
    if not host or parts.scheme != "http":
        raise host_patterns.setting_error("HTTPS_PROXY", "it must be http://HOST:PORT")
    user = None
    if parts.username is not None:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        user = f"Basic {base64.b64encode(pair.encode()).decode()}"
    found = tuple(host_patterns.split(excluded))
    for each in found:
        if "/" in each and not _is_network(each):
            raise host_patterns.setting_error("NO_PROXY", f"{each!r} must be a host, or a network as in 10.0.0.0/8")
    return Proxy(host=host, port=port, authorization=user, excluded=found)


def _dial(host: str, port: int, timeout_s: float, check: Callable[[str], None] = lambda _: None) -> socket.socket:
    """A connection to one of the name's addresses, each checked; raises OSError. The time is for all of it."""
    last: OSError = OSError(f"no address for {host}")
    deadline = time.monotonic() + timeout_s
    found = lookup.look_up(host, port, timeout_s)[:ADDRESSES_MAX]
    for number, (family, kind, protocol, _, address) in enumerate(found):
        check(str(address[0]))
        try:
            candidate = socket.socket(family, kind, protocol)
        except OSError as error:  # a kernel without that family
            last = error
            continue
        # Each gets an equal part of what is left, so that one that is silent leaves time for the others.
        candidate.settimeout(max(0.001, (deadline - time.monotonic()) / (len(found) - number)))
        try:
            candidate.connect(address)
        except OSError as error:
            candidate.close()
            last = error
        else:
            candidate.settimeout(timeout_s)
            return candidate
    raise last


def _parse(address: str) -> Address | None:
    try:
        return ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return None


def _is_network(text: str) -> bool:
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return False
    return True


def _carried(ip: Address) -> Iterator[Address]:
    if isinstance(ip, ipaddress.IPv6Address):
        for network, shift in _CARRIERS:
            if ip in network and int(ip) > 1:  # ::1 carries nothing
                yield ipaddress.IPv4Address(int(ip) >> shift & 0xFFFFFFFF)


def _is_public(ip: Address) -> bool:
    return ip.is_global and not _is_within(ip, _LOCAL)


def _check_plain(host: str) -> None:
    """Raises LoadError for an IPv4 address in a form that only a resolver reads as one, as in `0x7f.1` or `127.1`."""
    try:
        socket.inet_aton(host.rstrip("."))
    except (OSError, ValueError):
        return
    if not isinstance(_parse(host), ipaddress.IPv4Address):
        raise LoadError(LoadReason.MODEL_FORBIDDEN, f"{host}: write the address in its plain form, as in 192.0.2.1")


def _is_within(ip: Address, networks: Sequence[Network]) -> bool:
    return any(ip in each for each in networks)


def _is_excluded(host: str, pattern: str) -> bool:
    if pattern == "*":
        return True
    ip = _parse(host)
    if ip is not None:
        return _is_network(pattern) and ip in ipaddress.ip_network(pattern, strict=False)
    end = pattern.lower().removeprefix("*").removeprefix(".")
    return host.lower() == end or host.lower().endswith(f".{end}")


def _tunnel(proxy: Proxy, host: str, port: int, timeout_s: float) -> socket.socket:
    # The proxy is the platform's own choice: neither its name nor its address is checked.
    deadline = time.monotonic() + timeout_s
    connection = _dial(proxy.host, proxy.port, timeout_s)
    try:
        left_s = max(0.001, deadline - time.monotonic())
        connection.settimeout(left_s)
        target = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        more = f"Proxy-Authorization: {proxy.authorization}\r\n" if proxy.authorization else ""
        connection.sendall(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{more}\r\n".encode())
        first = _read_head(connection, left_s).split(b"\r\n", 1)[0].decode("latin-1")
        status = first.split(" ")[1:2]
        if status != ["200"]:
            answer = status[0] if status and re.fullmatch("[1-5][0-9]{2}", status[0]) else "with no status"
            raise OSError(f"the proxy {proxy.host}:{proxy.port} answered {answer} to CONNECT {target}")
        connection.settimeout(timeout_s)
    except BaseException:
        connection.close()
        raise
    return connection


def _read_head(connection: socket.socket, timeout_s: float) -> bytes:
    """The head of the answer, and no byte of what follows it: the rest is the tunnel's. The time is for all of it."""
    head = bytearray()
    deadline = time.monotonic() + timeout_s
    while not head.endswith(b"\r\n\r\n"):
        connection.settimeout(max(0.001, deadline - time.monotonic()))
        byte = connection.recv(1)
        if not byte or len(head) > PROXY_HEAD_BYTES_MAX:
            raise OSError("the proxy's answer to CONNECT broke off")
        head += byte
    return bytes(head)
