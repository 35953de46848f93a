"""What the operator says of the payload log: it stops no replica, and what waited by an earlier setting is not sent."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from tests.support import replica_parts
from tests.support.replica_parts import MODEL, ROW, Setting, wait_until

from fairlead_runtime import config
from fairlead_runtime.errors import LoadError, LoadReason
from fairlead_runtime.payload_counters import Outcome
from fairlead_runtime.payloads.sink import Sink

NO_SINKS = [
    *("http://[:::]/x", "http://[1.2.3.4]:80/x", "https://[fd00::1.2]/", "http://a:0/", "http://a:70000/", "http:///a"),
]
PREDICTION = replica_parts.post(f"/v1/models/{MODEL}:predict", {"instances": [[1.0] * ROW]})


def asked(url: str = "http://127.0.0.1:1", **given: Any) -> dict[str, object]:
    return {"digest": None, "payloads": {"url": url, "samplePercent": 100, **given}}


@pytest.mark.parametrize("url", NO_SINKS)
def test_a_url_that_leads_nowhere_is_refused_by_its_field(url: str) -> None:
    with pytest.raises(LoadError) as refused:
        config.parse_payloads(asked(url))
    assert refused.value.reason is LoadReason.CONFIG_INVALID
    assert refused.value.sentence.startswith("user_config.payloads: url: ")


@pytest.mark.parametrize("url", ["http://[fd00::1]:80/x", "https://events.example.org", "http://10.0.0.1:8080/a"])
def test_a_url_with_a_host_is_taken(url: str) -> None:
    found = config.parse_payloads(asked(url))
    assert found is not None
    assert found.url == url


def test_a_log_that_cannot_be_set_up_is_off_and_says_why_once(caplog: pytest.LogCaptureFixture) -> None:
    def fail(_: config.Payloads) -> Sink:
        raise ValueError("no such sink")

    payloads = replica_parts.assemble_inline(Setting(open_sink=fail)).payloads
    payloads.follow(asked())
    assert not payloads.is_on
    (line,) = [each for each in caplog.records if each.levelname == "ERROR"]
    assert "the payload log is off: it could not be set up" in line.getMessage()
    assert "no such sink" in caplog.text


def test_a_thread_that_cannot_start_turns_the_log_off_until_it_can(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    payloads = replica_parts.assemble_inline().payloads
    with monkeypatch.context() as limited:
        limited.setattr(threading.Thread, "start", refuse)
        payloads.follow(asked())
    assert not payloads.is_on
    assert "can't start new thread" in caplog.text
    payloads.follow(asked())
    assert payloads.is_on
    payloads.follow(None)
    assert not payloads.is_on


def test_what_waits_when_the_log_is_changed_is_not_sent() -> None:
    """It has the values that a list to redact may name since."""
    gate, begun = threading.Event(), threading.Event()
    sent: list[bytes] = []

    class SlowSink:
        def send(self, event: bytes) -> None:
            sent.append(event)
            begun.set()
            gate.wait(200)

    setting = Setting(payloads=config.parse_payloads(asked()), open_sink=lambda _: SlowSink())
    with replica_parts.running(setting) as replica:
        counters = replica.parts.metrics.payloads
        for _ in range(3):
            assert replica.send(PREDICTION).startswith(b"HTTP/1.1 200 ")
        assert begun.wait(100)
        replica.server.run(lambda: replica.parts.payloads.follow(asked(redact=["x", "y"])))
        gate.set()
        wait_until(lambda: counters.outcomes[Outcome.STOPPED] == 2)
        wait_until(lambda: counters.outcomes[Outcome.SENT] == 1)
    assert len(sent) == 1
