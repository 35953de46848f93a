"""Sinks that hang, fail, redirect, send without an end, or are where nothing may be sent: predictions go on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.support import payload_sink, raw_server, replica_parts
from tests.support.raw_server import Connection
from tests.support.replica_parts import MODEL, ROW, Setting, loopback_sink, wait_until

from fairlead_runtime.config import Payloads
from fairlead_runtime.errors import LoadError
from fairlead_runtime.model import http_fetch
from fairlead_runtime.model.fetching import purposes
from fairlead_runtime.model.fetching.outbound import Outbound
from fairlead_runtime.payload_counters import Outcome
from fairlead_runtime.payloads import http_sink
from fairlead_runtime.payloads.http_sink import HttpSink
from fairlead_runtime.payloads.sink import SinkError

SHORT_S, LONG_S = 0.5, 60.0
PREDICTION = replica_parts.post(f"/v1/models/{MODEL}:predict", {"instances": [[1.0] * ROW]})


def hang(client: Connection) -> None:
    client.stopped.wait(200)


def answer(head: bytes) -> Callable[[Connection], None]:
    return lambda client: client.send(head)


def drip(client: Connection) -> None:
    client.send(b"HTTP/1.1 200 OK\r\n")
    client.drip(b"x: y\r\n")


def pour(client: Connection) -> None:
    client.send(b"HTTP/1.1 ")
    client.send_without_end(b"2")


HOSTILE = [
    pytest.param(hang, {Outcome.TIMED_OUT}, id="hangs"),
    pytest.param(drip, {Outcome.TIMED_OUT}, id="sends heads without an end"),
    pytest.param(pour, {Outcome.UNREACHABLE}, id="sends a line without an end"),
    pytest.param(answer(b"EHLO sink\r\n\r\n"), {Outcome.UNREACHABLE}, id="speaks another protocol"),
    pytest.param(answer(b"HTTP/1.1 500 Oops\r\ncontent-length: 0\r\n\r\n"), {Outcome.REFUSED}, id="fails"),
    pytest.param(answer(b"HTTP/1.1 307 No\r\nlocation: http://127.0.0.1/\r\n\r\n"), {Outcome.REFUSED}, id="redirects"),
    pytest.param(answer(b""), {Outcome.UNREACHABLE}, id="closes"),
]


@pytest.mark.parametrize(("behave", "expected"), HOSTILE)
def test_predictions_go_on_whatever_the_sink_does(behave: Callable[[Connection], None], expected: set[Outcome]) -> None:
    # What ends by itself has time for it, also on a busy machine.
    send_s = SHORT_S if Outcome.TIMED_OUT in expected else LONG_S
    with raw_server.serving(behave) as server:
        setting = Setting(
            payloads=Payloads.model_validate({"url": f"{server.url}/", "samplePercent": 100}),
            open_sink=lambda given: loopback_sink(given.url, send_s=send_s),
        )
        with replica_parts.running(setting) as replica:
            counters = replica.parts.metrics.payloads
            for _ in range(20):
                assert replica.send(PREDICTION).startswith(b"HTTP/1.1 200 ")
            wait_until(lambda: any(counters.outcomes.values()))
            assert {outcome for outcome, count in counters.outcomes.items() if count} <= expected


def test_an_answer_without_an_end_is_not_waited_for() -> None:
    def endless(client: Connection) -> None:
        client.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        client.send_without_end(b"1\r\nx\r\n")

    with raw_server.serving(endless) as server:
        loopback_sink(f"{server.url}/").send(b"{}")


def test_nothing_is_sent_where_the_platform_allows_no_sink_whatever_it_allows_for_models(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FAIRLEAD_SOURCE_NETWORKS", "127.0.0.0/8")
    with payload_sink.receiving() as sink:
        given = Payloads.model_validate({"url": sink.url, "samplePercent": 100})
        with pytest.raises(SinkError, match=r"spec\.payloadSinks\.allowedHosts") as refused:
            http_sink.open_sink(given).send(b"{}")
        assert refused.value.outcome is Outcome.NOT_ALLOWED
        monkeypatch.setenv("FAIRLEAD_PAYLOAD_SINK_HOSTS", "127.0.0.1")
        with pytest.raises(SinkError, match=r"spec\.payloadSinks\.allowedNetworks") as refused:
            http_sink.open_sink(given).send(b"{}")
        assert refused.value.outcome is Outcome.NOT_ALLOWED
        assert sink.requests == []
        monkeypatch.setenv("FAIRLEAD_PAYLOAD_SINK_NETWORKS", "127.0.0.0/8")
        http_sink.open_sink(given).send(b"{}")
        assert len(sink.requests) == 1


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "localhost", "10.0.0.1", "169.254.169.254", "[::1]", "[fd00:ec2::254]", "0x7f.1", "100.100.100.200"],
)
def test_nothing_is_sent_to_an_address_that_is_not_public(host: str) -> None:
    rules = Outbound(hosts=(host.strip("[]"),), purpose=purposes.PAYLOADS)
    sink = HttpSink(f"http://{host}/", rules, lambda: http_fetch.trust(None))
    with pytest.raises(SinkError) as refused:
        sink.send(b"{}")
    assert refused.value.outcome is Outcome.NOT_ALLOWED


def test_nothing_is_sent_to_a_host_that_the_platform_does_not_list() -> None:
    sink = HttpSink("https://events.example.org/a", Outbound(hosts=("*.example.net",)), lambda: http_fetch.trust(None))
    with pytest.raises(SinkError, match="not among the allowed hosts") as refused:
        sink.send(b"{}")
    assert refused.value.outcome is Outcome.NOT_ALLOWED


def test_a_certificate_that_is_not_trusted_is_a_failure() -> None:
    with payload_sink.receiving() as sink:
        url = sink.url.replace("http:", "https:")
        with pytest.raises(SinkError) as failed:
            loopback_sink(url).send(b"{}")
    assert failed.value.outcome is Outcome.UNREACHABLE
    assert sink.requests == []


def make_secret(folder: Path, **keys: str) -> None:
    """The Secret `sink` of the Ray node, as the kubelet writes it."""
    (folder / "sink").mkdir(exist_ok=True)
    for name, value in keys.items():
        (folder / "sink" / name).write_text(value)


@pytest.fixture
def secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of Secrets of a Ray node that allows sinks on this machine, and the Secret `sink` for them."""
    monkeypatch.setenv("FAIRLEAD_PAYLOAD_SINK_HOSTS", "127.0.0.1,localhost")
    monkeypatch.setenv("FAIRLEAD_PAYLOAD_SINK_NETWORKS", "127.0.0.0/8")
    monkeypatch.setenv("FAIRLEAD_PAYLOAD_SINK_CREDENTIALS", "sink=127.0.0.1")
    monkeypatch.setenv("FAIRLEAD_SOURCE_SECRETS_DIR", str(tmp_path))
    return tmp_path


def with_secret(url: str, name: str | None = "sink") -> HttpSink:
    return http_sink.open_sink(
        Payloads.model_validate({"url": url, "samplePercent": 100, "credentialsSecretName": name})
    )


@pytest.mark.parametrize(
    ("keys", "header"),
    [
        ({"token": "abc\n"}, "Bearer abc"),
        ({"username": "fair", "password": "lead"}, "Basic ZmFpcjpsZWFk"),
    ],
)
def test_an_event_has_the_credentials_of_the_secret(secrets: Path, keys: dict[str, str], header: str) -> None:
    make_secret(secrets, **keys)
    with payload_sink.receiving() as sink:
        with_secret(sink.url).send(b"{}")
        with_secret(sink.url, None).send(b"{}")
        assert sink.authorizations == [header, None]


def test_a_secret_that_is_changed_is_used_with_the_next_event(secrets: Path) -> None:
    make_secret(secrets, token="old")
    with payload_sink.receiving() as sink:
        opened = with_secret(sink.url)
        opened.send(b"{}")
        make_secret(secrets, token="new")
        opened.send(b"{}")
        assert sink.authorizations == ["Bearer old", "Bearer new"]


def test_credentials_go_to_no_host_but_their_own(secrets: Path) -> None:
    """Whoever writes a ModelDeployment chooses the Secret and the URL."""
    make_secret(secrets, token="abc")
    with payload_sink.receiving() as sink:
        url = sink.url.replace("127.0.0.1", "localhost")
        with pytest.raises(SinkError, match="must not be sent to host localhost") as refused:
            with_secret(url).send(b"{}")
        assert "spec.payloadSinks.credentials" in str(refused.value)
        assert refused.value.outcome is Outcome.NOT_ALLOWED
        assert sink.requests == []
        with_secret(url, None).send(b"{}")
        assert sink.authorizations == [None]


@pytest.mark.parametrize(
    ("keys", "name", "sentence"),
    [
        ({"token": "abc"}, "other", "the Ray node has no Secret 'other': it must be in spec.payloadSinks.credentials"),
        ({"token": "abc"}, "../sink", "the Ray node has no Secret '../sink'"),
        ({"password": "lead"}, "sink", "the Secret has no key username; a sink of the payload log takes token"),
        ({"token": "a\rb: c"}, "sink", "the Secret's token has other than ASCII letters"),
        ({}, "sink", "the Secret sink is empty or doesn't exist"),
    ],
)
def test_without_the_credentials_no_event_is_sent_and_the_field_is_named(
    secrets: Path, keys: dict[str, str], name: str, sentence: str
) -> None:
    make_secret(secrets, **keys)
    with payload_sink.receiving() as sink:
        with pytest.raises(SinkError) as refused:
            with_secret(sink.url, name).send(b"{}")
        assert refused.value.outcome is Outcome.NOT_ALLOWED
        assert f"spec.monitoring.payloads.credentialsSecretName: {sentence}" in str(refused.value)
        assert "abc" not in str(refused.value)
        assert sink.requests == []


def test_credentials_are_not_sent_in_clear_to_a_public_address() -> None:
    """The address of the peer decides; here a stand-in for one that is public."""
    rules = Outbound(hosts=("127.0.0.1",), networks=(), purpose=purposes.PAYLOADS)
    with pytest.raises(LoadError) as refused:
        rules.check_credentials_in_clear("198.51.100.7", "http://events.example.org/a")
    assert "spec.monitoring.payloads.credentialsSecretName takes an https address" in refused.value.sentence
    assert "spec.payloadSinks.allowedNetworks" in refused.value.sentence


def test_a_sink_that_refuses_the_credentials_is_counted_and_they_are_in_no_log(
    secrets: Path, caplog: pytest.LogCaptureFixture
) -> None:
    make_secret(secrets, token="a-secret-token")
    head = answer(b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n")
    with raw_server.serving(head) as server:
        given = {"url": f"{server.url}/", "samplePercent": 100, "credentialsSecretName": "sink"}
        setting = Setting(payloads=Payloads.model_validate(given), open_sink=http_sink.open_sink)
        with caplog.at_level(0), replica_parts.running(setting) as replica:
            replica.send(PREDICTION)
            wait_until(lambda: replica.parts.metrics.payloads.outcomes[Outcome.REFUSED] == 1)
    assert "it answered 401" in caplog.text
    assert "a-secret-token" not in caplog.text
