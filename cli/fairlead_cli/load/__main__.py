"""``python -m fairlead_cli.load``: the counting client for a shell; exit status 1 when any request failed."""

from __future__ import annotations

import argparse
import asyncio
import os
import pathlib
import signal
import sys

import pydantic

from fairlead_cli import gateway_access
from fairlead_cli.load import process, report, runner, settings


def main(arguments: list[str] | None = None) -> int:
    parser = _parser()
    flags = parser.parse_args(arguments)
    if flags.from_stdin:
        return asyncio.run(_serve_parent())
    if not (flags.url and flags.model and flags.body_file):
        parser.error("--url, --model and --body-file are required")
    try:
        result = asyncio.run(_run_for_person(_settings(flags)))
    except (gateway_access.AccessError, pydantic.ValidationError) as error:
        parser.error(str(error))
    print(result.summary())
    if flags.json is not None:
        flags.json.write_text(result.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return 1 if result.failed else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m fairlead_cli.load", description="Counts every failed request.")
    parser.add_argument("--url", help="the gateway, such as http://127.0.0.1:8080")
    parser.add_argument("--model")
    parser.add_argument(
        "--body-file", type=pathlib.Path, action="append", help="a file with a request body; repeatable, sent in turn"
    )
    parser.add_argument("--path", help="default: /v2/models/MODEL/infer")
    parser.add_argument("--header", action="append", default=[], metavar="NAME: VALUE")
    parser.add_argument(
        "--api-key-file", type=pathlib.Path, metavar="FILE",
        help=f"the file with the API key; default: the variable {gateway_access.KEY_VARIABLE}",
    )  # fmt: skip
    parser.add_argument(
        "--ca-file", type=pathlib.Path, metavar="FILE",
        default=os.environ.get(gateway_access.CA_VARIABLE),
        help=f"the certificates that the gateway's must be issued by; default: {gateway_access.CA_VARIABLE}",
    )  # fmt: skip
    parser.add_argument("--expect-shape", help="the expected shape of the first output, such as 1,10")
    parser.add_argument("--requests", type=int)
    parser.add_argument("--duration", type=float, metavar="SECONDS")
    parser.add_argument("--rate", type=float, help="the highest number of requests per second")
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--timeout", type=float, default=30.0, metavar="SECONDS")
    parser.add_argument("--id-prefix", default="load")
    parser.add_argument("--json", type=pathlib.Path, help="write the whole report, every failure in it, to this file")
    parser.add_argument("--from-stdin", action="store_true", help=argparse.SUPPRESS)
    return parser


def _settings(flags: argparse.Namespace) -> settings.Settings:
    headers = [header.partition(":") for header in flags.header]
    return settings.Settings(
        url=flags.url,
        model=flags.model,
        bodies=tuple(path.read_bytes() for path in flags.body_file),
        path=flags.path,
        api_key=gateway_access.read_api_key(flags.api_key_file, os.environ),
        ca_file=flags.ca_file,
        headers=tuple((name.strip(), value.strip()) for name, _, value in headers),
        expect_shape=tuple(int(size) for size in flags.expect_shape.split(",")) if flags.expect_shape else None,
        requests=flags.requests,
        duration_s=flags.duration,
        rate_limit=flags.rate,
        connections=flags.connections,
        timeout_s=flags.timeout,
        id_prefix=flags.id_prefix,
    )


async def _run_for_person(asked: settings.Settings) -> report.Report:
    """Ctrl-C stops the run and still gives the report."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    result = await runner.run(asked, stop=stop, on_progress=_print_progress if sys.stderr.isatty() else None)
    if sys.stderr.isatty():
        print(file=sys.stderr)
    return result


def _print_progress(progress: report.Progress) -> None:
    by_revision = ", ".join(f"{name} {count}" for name, count in progress.revisions.items())
    line = f"{progress.elapsed_s:6.1f} s  {progress.requests} requests, {progress.failed} failed  {by_revision}"
    print(f"\r\x1b[K{line}", end="", file=sys.stderr, flush=True)


async def _serve_parent() -> int:
    """The child of ``background``: settings are the first line of standard input, its end means stop."""
    # A Ctrl-C in the person's terminal reaches the whole process group; the parent decides when the load ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=64 * 1024 * 1024)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    asked = settings.Settings.model_validate_json(await reader.readline())
    stop = asyncio.Event()
    watcher = asyncio.create_task(_stop_at_end(reader, stop))
    result = await runner.run(asked, stop=stop, on_progress=lambda progress: _report(process.Line(progress=progress)))
    watcher.cancel()
    _report(process.Line(result=result))
    return 0


async def _stop_at_end(reader: asyncio.StreamReader, stop: asyncio.Event) -> None:
    await reader.read()
    stop.set()


def _report(line: process.Line) -> None:
    try:
        print(line.model_dump_json(exclude_none=True), flush=True)
    except BrokenPipeError:
        # The parent is gone; standard input has ended as well, so the run stops by itself.
        return


if __name__ == "__main__":
    sys.exit(main())
