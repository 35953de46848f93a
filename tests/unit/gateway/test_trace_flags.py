"""The flags of spans: which go together, and what is said of others."""

from __future__ import annotations

from pathlib import Path

import pytest

from fairlead_gateway import main, settings

NEEDED = ("--listen=127.0.0.1:8080", "--admin=127.0.0.1:8081", "--state-dir=x")


def test_without_a_collector_there_are_no_spans() -> None:
    assert main.parse_settings(NEEDED).traces is None


def test_one_percent_of_the_requests_is_traced_unless_another_share_is_given() -> None:
    endpoint = "https://collector.example:4318/otlp"
    found = main.parse_settings((*NEEDED, f"--traces-endpoint={endpoint}"))
    assert found.traces == settings.Traces(endpoint=endpoint, sample_percent=1)
    flags = (f"--traces-endpoint={endpoint}", "--traces-sample-percent=0.25", "--traces-ca-file=ca.crt")
    found = main.parse_settings((*NEEDED, *flags))
    assert found.traces == settings.Traces(endpoint=endpoint, sample_percent=0.25, ca_file=Path("ca.crt"))


@pytest.mark.parametrize("value", [0, 1, 100, 0.5, 0.00001, 1e-9, 33.333333333, 99.99999])
def test_a_share_is_read_as_the_operator_writes_it(value: float) -> None:
    flag = f"--traces-sample-percent={value!r}"
    found = main.parse_settings((*NEEDED, "--traces-endpoint=http://c:4318", flag)).traces
    assert found is not None
    assert found.sample_percent == value


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--traces-sample-percent=1"], "--traces-sample-percent requires --traces-endpoint"),
        (["--traces-ca-file=ca.crt"], "--traces-ca-file requires --traces-endpoint"),
        (["--traces-endpoint=http://c:4318", "--traces-ca-file=x"], "--traces-ca-file requires an https URL"),
        (["--traces-endpoint=collector:4318"], "is no URL such as"),
        (["--traces-endpoint=http://user:word@c:4318"], "is no URL such as"),
        (["--traces-endpoint=http://c:4318?x=1"], "is no URL such as"),
        (["--traces-endpoint=http://" + "c" * 300], "is no URL such as"),
        (["--traces-endpoint=http://c:4318", "--traces-sample-percent=101"], "is not a number from 0 to 100"),
        (["--traces-endpoint=http://c:4318", "--traces-sample-percent=-1"], "is not a number from 0 to 100"),
        (["--traces-endpoint=http://c:4318", "--traces-sample-percent=nan"], "is not a number from 0 to 100"),
    ],
)
def test_flags_that_say_nothing_are_refused(flags: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main.parse_settings((*NEEDED, *flags))
    assert words in capsys.readouterr().err
