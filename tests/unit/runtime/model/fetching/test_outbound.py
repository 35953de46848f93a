"""Which hosts and addresses are asked: by the rules of the platform, also through a proxy."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Event, Thread

import pytest

from fairlead_runtime.errors import LoadError, LoadReason
from fairlead_runtime.model.fetching.outbound import (
    ADDRESSES_MAX,
    Outbound,
    Proxy,
    parse_hosts,
    parse_networks,
    parse_proxy,
)

REFUSED = [
    *("127.0.0.1", "127.9.9.9", "::1", "10.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1", "fd00::1", "192.0.2.1"),
    *("169.254.169.254", "fe80::1", "0.0.0.0", "::", "224.0.0.1", "ff02::1", "255.255.255.255", "240.0.0.1"),
    *("100.100.100.200", "168.63.129.16", "192.0.0.192", "fd00:ec2::254", "fd00:ec2::23", "fd20:ce::254"),
    *("::ffff:10.0.0.1", "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "64:ff9b::10.0.0.1", "::169.254.169.254"),
    *("2002:a9fe:a9fe::", "2002:0a00:0001::1", "64:ff9b:1::a9fe:a9fe", "fec0::1", "feff::1", "64:ff9b:1::808:808"),
]
NEVER = [
    *("169.254.169.254", "fe80::1", "0.0.0.0", "224.0.0.1", "168.63.129.16", "100.100.100.200", "192.0.0.192"),
    *("fd00:ec2::254", "fd20:ce::254", "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "2002:a9fe:a9fe::"),
]
EVERYTHING = parse_networks("0.0.0.0/0, ::/0")


def connect(outbound: Outbound, host: str, port: int = 1) -> socket.socket:
    return outbound.connect(host, port, is_tls=False, timeout_s=0.5)


@pytest.mark.parametrize("address", REFUSED)
def test_an_address_that_is_not_public_is_refused(address: str) -> None:
    with pytest.raises(LoadError) as raised:
        connect(Outbound(), address)
    assert raised.value.reason is LoadReason.MODEL_FORBIDDEN


@pytest.mark.parametrize("address", NEVER)
def test_link_local_and_metadata_addresses_are_refused_whatever_is_listed(address: str) -> None:
    with pytest.raises(LoadError) as raised:
        connect(Outbound(networks=EVERYTHING), address)
    assert "which models are never read from" in raised.value.sentence


@pytest.mark.parametrize("written", ["127.0.0.1", "localhost", "0x7f000001", "2130706433", "127.1", "::ffff:127.0.0.1"])
def test_every_way_to_write_loopback_is_refused_unless_its_network_is_listed(written: str) -> None:
    with pytest.raises(LoadError):
        connect(Outbound(), written)


@contextmanager
def listening() -> Iterator[tuple[socket.socket, int]]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server, server.getsockname()[1]


def test_a_listed_network_is_asked() -> None:
    with listening() as (_, port), connect(Outbound(networks=parse_networks("127.0.0.0/8")), "127.0.0.1", port) as made:
        assert made.getpeername() == ("127.0.0.1", port)


def test_a_name_is_resolved_once_and_the_address_that_was_checked_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that answers with a public address first and with a private one then leads nowhere else."""
    answers = ["192.88.98.1", "10.0.0.1"]

    def lookup(host: str, port: int, **_: object) -> list[object]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (answers.pop(0), port))]

    asked = []
    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    monkeypatch.setattr(socket.socket, "connect", lambda self, address: asked.append(address))
    connect(Outbound(), "rebinding.example", 80).close()
    assert asked == [("192.88.98.1", 80)]


@pytest.mark.parametrize("host", ["models.example.org", "Models.Example.ORG", "models.example.org.", "a.b.example.net"])
def test_a_listed_host_passes(host: str) -> None:
    Outbound(hosts=parse_hosts("models.example.org, *.example.net")).check_host(host)


@pytest.mark.parametrize("host", ["example.net", "evilexample.net", "other.example.org", "models.example.org.evil", ""])
def test_another_host_is_refused_with_the_fields_that_would_allow_it(host: str) -> None:
    with pytest.raises(LoadError) as raised:
        Outbound(hosts=parse_hosts("models.example.org, *.example.net")).check_host(host)
    assert "spec.sources.allowedHosts" in raised.value.sentence
    assert "FAIRLEAD_SOURCE_HOSTS" in raised.value.sentence


@pytest.mark.parametrize(
    ("excluded", "host", "goes"),
    [
        ("", "a.example.org", True),
        ("example.org", "a.example.org", False),
        (".example.org", "a.example.org", False),
        ("*.example.org", "a.example.org", False),
        ("ample.org", "a.example.org", True),
        ("*", "a.example.org", False),
        ("10.0.0.0/8", "10.1.2.3", False),
        ("10.0.0.0/8", "11.1.2.3", True),
        ("10.1.0.0/8", "10.1.2.3", False),
        ("10.1.2.3", "10.1.2.3", False),
        (".svc, example.org", "10.1.2.3", True),
    ],
)
def test_hosts_are_taken_out_of_the_proxy_by_no_proxy(excluded: str, host: str, goes: bool) -> None:
    proxy = parse_proxy("http://proxy:3128", excluded)
    assert proxy is not None
    assert proxy.serves(host) is goes


@pytest.mark.parametrize(
    ("parse", "text", "name"),
    [
        (parse_networks, "10.0.0.300/8", "FAIRLEAD_SOURCE_NETWORKS"),
        (parse_networks, "10.0.0.0/33", "FAIRLEAD_SOURCE_NETWORKS"),
        (parse_hosts, "https://a", "FAIRLEAD_SOURCE_HOSTS"),
        (parse_hosts, "a.*.b", "FAIRLEAD_SOURCE_HOSTS"),
        (lambda text: parse_proxy(text, ""), "socks5://a:1", "HTTPS_PROXY"),
        (lambda text: parse_proxy(text, ""), "http://a:b", "HTTPS_PROXY"),
        (lambda text: parse_proxy("http://a:1", text), "10.0.0.0/33", "NO_PROXY"),
        (lambda text: parse_proxy("http://a:1", text), "a/b", "NO_PROXY"),
    ],
)
def test_a_wrong_setting_is_refused_by_its_name(parse: object, text: str, name: str) -> None:
    assert callable(parse)
    with pytest.raises(LoadError) as raised:
        parse(text)
    assert raised.value.reason is LoadReason.NODE_MISCONFIGURED
    assert raised.value.sentence.startswith(f"{name} of the Ray node")


def test_a_tunnel_takes_its_name_and_user_to_the_proxy_and_nothing_of_what_follows_is_lost() -> None:
    received = []

    def serve(server: socket.socket) -> None:
        client, _ = server.accept()
        with client:
            while not (received and received[-1].endswith(b"\r\n\r\n")):
                received.append(client.recv(65536))
            client.sendall(b"HTTP/1.1 200 OK\r\n\r\nfirst bytes of the server")

    with listening() as (server, port):
        thread = Thread(target=serve, args=(server,))
        thread.start()
        proxy = parse_proxy(f"http://us%40er:pass@127.0.0.1:{port}", "")
        with Outbound(proxy=proxy).connect("models.example.org", 443, is_tls=True, timeout_s=5) as made:
            assert made.recv(100) == b"first bytes of the server"
        thread.join()
    head = b"".join(received).decode()
    assert head.startswith("CONNECT models.example.org:443 HTTP/1.1\r\n")
    assert "Proxy-Authorization: Basic dXNAZXI6cGFzcw==\r\n" in head


def test_the_lookup_of_a_proxy_ends_with_the_time_of_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Event()

    def lookup(*_: object, **__: object) -> list[object]:
        gate.wait(60)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    through = Outbound(proxy=Proxy(host="proxy.example.org", port=3128))
    with pytest.raises(OSError, match=r"no address for proxy\.example\.org within"):
        through.connect("models.example.org", 443, is_tls=True, timeout_s=0.2)
    gate.set()


def test_all_addresses_of_a_proxy_share_the_time_of_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    def lookup(host: str, port: int, **_: object) -> list[object]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (f"192.88.98.{number}", port)) for number in range(4)]

    given: list[float] = []

    def refuse(self: socket.socket, _: object) -> None:
        given.append(self.gettimeout() or 0)
        raise OSError("silent")

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    through = Outbound(proxy=Proxy(host="proxy.example.org", port=3128))
    with pytest.raises(OSError, match="silent"):
        through.connect("models.example.org", 443, is_tls=True, timeout_s=8)
    assert given[0] <= 2


def test_an_address_is_checked_before_a_proxy_is_asked_for_it() -> None:
    with pytest.raises(LoadError):
        Outbound(proxy=Proxy(host="127.0.0.1", port=1)).connect("169.254.169.254", 443, is_tls=True, timeout_s=1)


@pytest.mark.parametrize("written", ["169.254.169.254.", "2852039166", "0xa9fea9fe", "127.1", "0177.0.0.1", "8.8.8.8."])
def test_an_address_in_another_form_is_not_handed_to_a_proxy(written: str) -> None:
    through = Outbound(proxy=Proxy(host="127.0.0.1", port=1), networks=EVERYTHING)
    with pytest.raises(LoadError) as raised:
        through.connect(written, 443, is_tls=True, timeout_s=1)
    assert "write the address in its plain form" in raised.value.sentence


def test_a_name_with_many_addresses_costs_no_more_than_the_time_for_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def lookup(host: str, port: int, **_: object) -> list[object]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (f"192.88.98.{number}", port)) for number in range(200)]

    given: list[float] = []

    def connect_in_vain(self: socket.socket, address: object) -> None:
        given.append(self.gettimeout() or 0)
        raise TimeoutError

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    monkeypatch.setattr(socket.socket, "connect", connect_in_vain)
    with pytest.raises(TimeoutError):
        Outbound().connect("many.example", 80, is_tls=False, timeout_s=8)
    assert len(given) == ADDRESSES_MAX
    assert given[0] <= 8 / ADDRESSES_MAX


def test_a_name_that_no_server_answers_is_given_up_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    ended = Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: ended.wait(100) and [])
    try:
        with pytest.raises(OSError, match=r"no address for models\.example within 0\.1 s"):
            Outbound().connect("models.example", 80, is_tls=False, timeout_s=0.1)
    finally:
        ended.set()


@pytest.mark.parametrize("error", [socket.gaierror(-2, "unknown"), UnicodeError("too long"), OverflowError("port")])
def test_what_the_resolver_raises_is_raised(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def fail(*_: object, **__: object) -> object:
        raise error

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    with pytest.raises(type(error)):
        Outbound().connect("models.example", 80, is_tls=False, timeout_s=5)


def test_a_proxy_that_answers_a_byte_at_a_time_is_given_up_in_time() -> None:
    ended = Event()

    def drip(connection: socket.socket) -> None:
        with suppress(OSError):
            while not ended.wait(0.02):
                connection.sendall(b"H")

    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                drip(connection)

        thread = Thread(target=serve)
        thread.start()
        outbound = Outbound(proxy=Proxy(host="127.0.0.1", port=server.getsockname()[1]))
        try:
            with pytest.raises(OSError, match="timed out"):
                outbound.connect("models.example", 443, is_tls=True, timeout_s=0.3)
        finally:
            ended.set()
            thread.join()
