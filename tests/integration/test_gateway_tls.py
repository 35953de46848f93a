"""TLS on the data port of a real gateway: HTTP/1.1, HTTP/2 and gRPC clients, rotation, and files that are no use."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import httpx
import pytest
from cryptography import x509
from tests.support import certificates
from tests.support.free_ports import free_port
from tests.support.gateway_process import Gateway, Replicas, fetch, make_node, revision, spec
from tests.support.until import until

pytestmark = pytest.mark.real

A, B = "aaaaaaaaaa", "bbbbbbbbbb"
ROUTE = spec(A, {A: revision(aliases=("1",)), B: revision(aliases=("2",))})
LIVE = b"\x08\x01"
"""The message ServerLiveResponse with `live` set."""


@dataclass
class Secured:
    """A gateway with TLS, a model and a replica of its stable revision."""

    folder: Path
    gateway: Gateway
    replicas: Replicas
    internal: str
    pair: certificates.Pair = field(default_factory=certificates.make_pair)

    @property
    def certificate(self) -> Path:
        return self.folder / "tls.crt"

    @property
    def key(self) -> Path:
        return self.folder / "tls.key"

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.gateway.data_port}"

    def rotate(self, pair: certificates.Pair) -> None:
        pair.write(self.certificate, self.key)
        self.pair = pair

    def served(self) -> int:
        """The serial number of the certificate that a new connection gets."""
        pem = ssl.get_server_certificate(("127.0.0.1", self.gateway.data_port))
        return x509.load_pem_x509_certificate(pem.encode()).serial_number

    def trust(self, *pairs: certificates.Pair) -> ssl.SSLContext:
        context = ssl.create_default_context()
        for pair in pairs or (self.pair,):
            context.load_verify_locations(cadata=pair.certificate.decode())
        return context

    def protocol(self, *offered: str) -> str | None:
        """What the gateway chooses of the protocols that a client offers (ALPN)."""
        context = self.trust()
        context.set_alpn_protocols(list(offered))
        with (
            socket.create_connection(("127.0.0.1", self.gateway.data_port), timeout=100) as plain,
            context.wrap_socket(plain, server_hostname="127.0.0.1") as wrapped,
        ):
            return wrapped.selected_alpn_protocol()

    def log(self) -> str:
        return (self.gateway.state_dir / "agent.log").read_text()


@pytest.fixture
def unstarted(tmp_path: Path) -> Iterator[Secured]:
    node = make_node(tmp_path / "node")
    port = free_port()
    routes = tmp_path / "gateway-routes.json"
    arguments = (
        f"--routes-file={routes}",
        f"--tls-certificate={tmp_path / 'tls.crt'}",
        f"--tls-key={tmp_path / 'tls.key'}",
        f"--internal-port={port}",
    )
    gateway = Gateway(tmp_path / "gateway", nodes=[node], arguments=arguments)
    replicas = Replicas(node)
    try:
        yield Secured(tmp_path, gateway, replicas, f"http://127.0.0.1:{port}")
    finally:
        gateway.stop()
        replicas.stop()


@pytest.fixture
def secured(unstarted: Secured) -> Secured:
    unstarted.rotate(unstarted.pair)
    unstarted.gateway.start()
    unstarted.replicas.start("digits", A)
    unstarted.gateway.apply(digits=ROUTE)
    unstarted.gateway.wait_up("digits", A)
    return unstarted


def test_http_1_http_2_and_grpc_are_answered_over_tls_and_none_without(secured: Secured) -> None:
    url = f"https://{secured.host}/v2/models/digits/infer"
    answer = httpx.post(url, content=b"{}", verify=secured.trust(), timeout=60)
    assert (answer.status_code, answer.headers["x-fairlead-revision"]) == (200, A)
    assert secured.protocol("h2", "http/1.1") == "h2"
    assert secured.protocol("http/1.1") == "http/1.1"
    credentials = grpc.ssl_channel_credentials(secured.pair.certificate)
    with grpc.secure_channel(secured.host, credentials) as channel:
        assert channel.unary_unary("/inference.GRPCInferenceService/ServerLive")(b"", timeout=20) == LIVE

    with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
        httpx.post(f"http://{secured.host}/v2/models/digits/infer", content=b"{}", timeout=60)
    log = secured.log() + (secured.gateway.state_dir / "haproxy.log").read_text()
    assert "PRIVATE KEY" not in log
    assert secured.pair.key.decode().splitlines()[1] not in log


def test_tls_1_2_is_taken_and_1_1_is_refused(secured: Secured) -> None:
    context = secured.trust()
    context.minimum_version = ssl.TLSVersion.TLSv1
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    # Without this the client itself would refuse TLS 1.1.
    context.set_ciphers("ALL:@SECLEVEL=0")
    url = f"https://{secured.host}/v2/health/live"
    assert httpx.get(url, verify=context, timeout=60).status_code == 200
    context.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises(httpx.ConnectError, match="protocol version"):
        httpx.get(url, verify=context, timeout=60)


def test_a_rotated_certificate_is_used_without_a_reload_or_a_failed_request(secured: Secured) -> None:
    reloads = secured.gateway.metric("fairlead_gateway_haproxy_reloads_total")
    pairs = [certificates.make_pair() for _ in range(3)]
    trusted = secured.trust(secured.pair, *pairs)
    url = f"https://{secured.host}/v2/models/digits/infer"
    ended = threading.Event()
    codes: list[int] = []

    def ask_on_new_connections() -> None:
        while not ended.is_set():
            codes.append(httpx.post(url, content=b"{}", verify=trusted, timeout=60).status_code)

    asking = threading.Thread(target=ask_on_new_connections)
    with httpx.Client(verify=trusted, timeout=60) as kept:
        assert kept.post(url, content=b"{}").status_code == 200
        asking.start()
        try:
            for pair in pairs:
                secured.rotate(pair)
                until(lambda expected=pair.serial: secured.served() == expected, "the new certificate is served")
            assert kept.post(url, content=b"{}").status_code == 200
        finally:
            ended.set()
            asking.join()
    assert len(codes) > 3
    assert set(codes) == {200}
    assert secured.gateway.metric("fairlead_gateway_haproxy_reloads_total") == reloads
    assert "PRIVATE KEY" not in secured.log()


def test_files_that_are_no_use_leave_the_certificate_before(secured: Secured) -> None:
    good = secured.pair
    secured.key.write_bytes(certificates.make_pair().key)
    until(lambda: secured.gateway.metric("fairlead_gateway_certificate_refused") == 1, "the other key is refused")
    assert f"{secured.key} is not the private key of {secured.certificate}" in secured.log()
    assert secured.served() == good.serial

    secured.gateway.kill_agent()
    secured.gateway.stop()
    secured.gateway.start()
    until(secured.gateway.is_ready, "a restarted gateway has the certificate before")
    assert secured.served() == good.serial

    secured.rotate(certificates.make_pair())
    until(lambda: secured.served() == secured.pair.serial, "the mended pair is served")
    until(lambda: secured.gateway.metric("fairlead_gateway_certificate_refused") == 0, "nothing is refused")


def test_a_gateway_without_a_certificate_is_not_ready_until_it_has_one(unstarted: Secured) -> None:
    unstarted.gateway.start()
    expected = f"no certificate for the data port: {unstarted.certificate}: No such file or directory"

    def find_failure() -> str:
        answer = unstarted.gateway.admin("/readyz")
        return answer.text if answer is not None else ""

    until(lambda: expected in find_failure(), "it says why", explain=find_failure)
    unstarted.rotate(unstarted.pair)
    until(unstarted.gateway.is_ready, "ready")
    assert unstarted.served() == unstarted.pair.serial


def test_a_certificate_whose_time_is_over_is_served_and_reported(unstarted: Secured) -> None:
    unstarted.rotate(certificates.make_pair(days=-1))
    unstarted.gateway.start()
    until(unstarted.gateway.is_ready, "ready: whether clients take it is theirs to decide")
    ends = x509.load_pem_x509_certificate(unstarted.pair.certificate).not_valid_after_utc.timestamp()
    metric = "fairlead_gateway_certificate_expiration_timestamp_seconds"
    until(lambda: unstarted.gateway.metric(metric) == ends, "the metric")
    assert "certificate expired" in unstarted.log()
    with pytest.raises(httpx.ConnectError, match="certificate has expired"):
        httpx.get(f"https://{unstarted.host}/v2/health/live", verify=unstarted.trust(), timeout=60)


def test_the_internal_port_takes_proofs_copies_and_reads_alone(secured: Secured) -> None:
    model = f"{secured.internal}/v2/models/digits"
    named = {"x-fairlead-revision": A}

    assert fetch(f"{model}/proof", body=b"", headers=named).headers["x-fairlead-revision"] == A
    assert fetch(model, headers=named).status == 200
    copy = fetch(f"{model}/infer", body=b"{}", headers={**named, "x-fairlead-shadow-copy": "1"})
    assert copy.headers["x-fairlead-revision"] == A
    for refused in ({}, named):
        answer = fetch(f"{model}/infer", body=b"{}", headers=refused)
        assert answer.status == 403
        assert "for the operator and for replicas" in answer.json["error"]
    copied = {**named, "x-fairlead-shadow-copy": "1"}
    assert fetch(f"{model}/feedback", body=b"{}", headers=copied).status == 403
    assert httpx.request("DELETE", f"{model}/infer", headers=copied, timeout=60).status_code == 403
    assert fetch(f"{secured.internal}/v2/repository/index", body=b"{}").status == 403
    with grpc.insecure_channel(secured.internal.removeprefix("http://")) as channel:
        call = channel.unary_unary("/inference.GRPCInferenceService/ServerLive")
        with pytest.raises(grpc.RpcError):
            call(b"", timeout=20)


def test_a_copy_goes_to_the_internal_port(secured: Secured) -> None:
    secured.replicas.start("digits", B)
    secured.gateway.apply(digits=spec(A, {A: revision(), B: revision()}, candidate=B, shadow=10000))
    secured.gateway.wait_up("digits", B)

    answer = httpx.post(
        f"https://{secured.host}/v2/models/digits/infer", content=b"{}", verify=secured.trust(), timeout=20
    )

    assert answer.json()["headers"]["x-fairlead-shadow"] == f"127.0.0.1:{secured.internal.rpartition(':')[2]}/{B}"
