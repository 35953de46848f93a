"""The flags of the spans of requests: the collector, and which requests have spans."""

import argparse
from pathlib import Path

from fairlead_gateway import security_flags, settings

SAMPLE_PERCENT = 1.0


def add(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    parser.add_argument(
        "--traces-endpoint",
        type=security_flags.explained(settings.parse_endpoint),
        metavar="URL",
        help="send a span of each traced request by OTLP over HTTP to the path /v1/traces of this collector of "
        "OpenTelemetry, as in http://collector:4318",
    )
    parser.add_argument(
        "--traces-sample-percent",
        type=security_flags.explained(settings.parse_percent),
        metavar="PERCENT",
        help="the percentage of the requests without a valid traceparent that are traced; for others their sampled "
        f"flag decides. Default: {SAMPLE_PERCENT:g}",
    )
    parser.add_argument(
        "--traces-ca-file",
        type=Path,
        metavar="FILE",
        help="PEM certificates of authorities that are trusted for the collector, beside those of the system",
    )


def build(options: argparse.Namespace) -> settings.Traces | None:
    """Where spans are sent to, by the flags; None where nowhere.

    Raises:
        ValueError: when flags don't fit together.
    """
    endpoint = options.traces_endpoint
    if endpoint is None:
        given = {
            "--traces-sample-percent": options.traces_sample_percent,
            "--traces-ca-file": options.traces_ca_file,
        }
        lone = next((flag for flag, value in given.items() if value is not None), None)
        if lone is not None:
            raise ValueError(f"{lone} requires --traces-endpoint, the collector of the spans")
        return None
    if options.traces_ca_file is not None and not endpoint.startswith("https:"):
        raise ValueError("--traces-ca-file requires an https URL as --traces-endpoint")
    percent = options.traces_sample_percent
    return settings.Traces(
        endpoint=endpoint,
        sample_percent=SAMPLE_PERCENT if percent is None else percent,
        ca_file=options.traces_ca_file,
    )
