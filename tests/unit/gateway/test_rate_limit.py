"""The flag of the rate limit of each client."""

from __future__ import annotations

import pytest

from fairlead_gateway import main, settings


@pytest.mark.parametrize(
    ("text", "rate", "burst", "period_ms"),
    [("1", 1, 1, 1000), ("100", 100, 100, 1000), ("100:10", 100, 10, 100), ("1:60", 1, 60, 60_000)],
)
def test_a_rate_with_or_without_a_burst_is_read(text: str, rate: int, burst: int, period_ms: int) -> None:
    found = settings.parse_rate_limit(text)
    assert (found.requests_per_second, found.burst, found.period_ms) == (rate, burst, period_ms)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "RATE or RATE:BURST"),
        ("0", "from 1 to 100000"),
        ("100001", "from 1 to 100000"),
        ("-1", "RATE or RATE:BURST"),
        ("1.5", "RATE or RATE:BURST"),
        ("1:", "RATE or RATE:BURST"),
        ("1:x", "RATE or RATE:BURST"),
        ("1:0", "the burst must be"),
        ("1:61", "to 60 times the rate"),
        ("100:9", "from a tenth of the rate"),
    ],
)
def test_a_rate_of_another_form_is_refused(text: str, words: str) -> None:
    with pytest.raises(ValueError, match="rate") as refused:
        settings.parse_rate_limit(text)
    assert words in str(refused.value)


def test_a_limit_needs_a_port_for_those_who_have_none(capsys: pytest.CaptureFixture[str]) -> None:
    needed = ("--listen=127.0.0.1:8080", "--admin=127.0.0.1:8081", "--state-dir=x", "--rate-limit=5")
    with pytest.raises(SystemExit):
        main.parse_settings(needed)
    assert "--rate-limit requires --internal-port" in capsys.readouterr().err
