"""Talks to HAProxy's runtime and master sockets."""

import asyncio
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from fairlead_gateway.haproxy import access, certificate, config, tokens
from fairlead_gateway.haproxy.observed import (
    Observed,
    Processes,
    is_unknown_map,
    parse_held,
    parse_info,
    parse_map,
    parse_map_files,
    parse_processes,
    parse_servers,
    parse_sessions,
)

_DONE = frozenset({"New server registered.", "Server deleted."})
"""What a command about a server answers when it was done."""

_LINE_BYTES = 8000
"""Below `tune.bufsize`, which bounds a command line."""


_DIGEST = re.compile(r"\b[0-9A-F]{64}\b")
"""Of an API key: no error shows it."""


class HAProxyError(Exception):
    """HAProxy did not answer, or did not carry out a command; the message holds its own text."""


class Control:
    """The sockets of the HAProxy that lives in one state directory."""

    def __init__(self, state_dir: Path, *, timeout_s: float = 10.0) -> None:
        # A socket's path may be 107 bytes long; through the directory's descriptor it always is short.
        self._dir = os.open(state_dir, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        self._timeout_s = timeout_s

    def close(self) -> None:
        os.close(self._dir)

    async def ask(self, command: str) -> str:
        """One command line for the worker that takes new connections.

        Raises:
            HAProxyError: when it can't be reached, does not answer in time or ends within its answer: half a list of
                servers would read as if the others were gone.
        """
        answer = await self._exchange(config.RUNTIME_SOCKET, command, self._timeout_s)
        if not _is_whole(answer):
            raise HAProxyError(f"{config.RUNTIME_SOCKET}: {_first_line(command)!r}: the answer was cut off")
        return answer

    async def ask_master(self, command: str, *, timeout_s: float | None = None) -> str:
        """One command line for the master, or with `@!PID` for any worker."""
        return await self._exchange(config.MASTER_SOCKET, command, timeout_s or self._timeout_s)

    async def run(self, lines: Iterable[str]) -> None:
        """Run commands that answer nothing when they succeed.

        Raises:
            HAProxyError: with HAProxy's words when one of them failed.
        """
        for batch in _batches(lines):
            answer = (await self.ask(batch)).strip()
            if answer:
                raise HAProxyError(f"{_DIGEST.sub('…', batch)[:200]!r}: {answer[:500]}")

    async def try_each(self, lines: Iterable[str]) -> list[str]:
        """Run commands about servers. A refused one does not stop the others; returns HAProxy's text of each refusal.

        Raises:
            HAProxyError: when it can't be reached.
        """
        refused: list[str] = []
        for batch in _batches(lines):
            answer = await self.ask(batch)
            refused += [line for line in answer.splitlines() if line.strip() and line.strip() not in _DONE]
        return refused

    async def set_certificate(self, current: certificate.Certificate) -> None:
        """Use this pair for new connections. Those that are open go on.

        Raises:
            HAProxyError: with HAProxy's words when it does not take the pair; nothing has changed then.
        """
        answer = await self.ask(f"set ssl cert {access.TLS_FILE} <<\n{current.pem}")
        if not answer.startswith("Transaction "):
            raise HAProxyError(f"set ssl cert: {answer.strip()[:500]}")
        answer = await self.ask(f"commit ssl cert {access.TLS_FILE}")
        if "Success!" not in answer:
            await self.ask(f"abort ssl cert {access.TLS_FILE}")
            raise HAProxyError(f"commit ssl cert: {answer.strip()[:500]}")

    async def find_certificate(self) -> certificate.Shown | None:
        """The certificate that new connections get; None where they use no TLS."""
        return certificate.parse_shown(await self.ask(f"show ssl cert {access.TLS_FILE}"))

    async def observe(self) -> Observed:
        """Read everything that routing depends on."""
        info = parse_info(await self.ask("show info"))
        route_map = parse_map(await self.ask(f"show map {config.ROUTE_MAP}"))
        version_map = parse_map(await self.ask(f"show map {config.VERSION_MAP}"))
        matches = await self.ask(f"show map {config.MATCH_MAP}")
        backends = await self.ask(f"show map {config.BACKEND_MAP}")
        keys = await self.ask(f"show map {access.KEY_MAP}")
        token_file = tokens.find_map(parse_map_files(await self.ask("show map")))
        token_keys = None if token_file is None else await self.ask(f"show map {token_file}")
        if token_keys is None or is_unknown_map(token_keys):
            token_file, token_keys = None, None
        held = parse_held(await self.ask(f"show table {config.HOLD_TABLE}"))
        servers = parse_servers(await self.ask("show servers state"))
        try:
            return Observed(
                pid=int(info["Pid"]),
                digest=info.get("description", ""),
                dropped_logs=int(info.get("DroppedLogs", 0)),
                route_map=route_map,
                version_map=version_map,
                match_map=None if is_unknown_map(matches) else parse_map(matches),
                backend_map=None if is_unknown_map(backends) else parse_map(backends),
                key_map=None if is_unknown_map(keys) else parse_map(keys),
                token_map=None if token_keys is None else parse_map(token_keys),
                token_file=token_file,
                held=held,
                servers=servers,
            )
        except (KeyError, ValueError) as error:
            raise HAProxyError(f"show info: no {error} in the answer") from error

    async def processes(self) -> Processes:
        """The workers, as the master knows them."""
        return parse_processes(await self.ask_master("show proc"))

    async def sessions(self, processes: Processes) -> Mapping[int, int] | None:
        """Requests in flight by place, over all workers: one that a reload replaced may still hold some.

        None while a replaced worker does not yet know that it is: it still decides by its old tables.
        """
        total: dict[int, int] = {}
        for pid in (processes.worker, *processes.old_workers):
            if pid is None:
                continue
            if pid != processes.worker:
                info = parse_info(await self.ask_master(f"@!{pid} show info"))
                if info.get("Stopping") == "0":
                    return None
            for place, count in parse_sessions(await self.ask_master(f"@!{pid} show stat -1 2 -1")).items():
                total[place] = total.get(place, 0) + count
        return total

    async def _exchange(self, socket: str, command: str, timeout_s: float) -> str:
        path = f"/proc/self/fd/{self._dir}/{socket}"
        try:
            async with asyncio.timeout(timeout_s):
                reader, writer = await asyncio.open_unix_connection(path)
                try:
                    writer.write(command.encode() + b"\n")
                    writer.write_eof()
                    return (await reader.read()).decode(errors="replace")
                finally:
                    writer.close()
        except (OSError, TimeoutError) as error:
            raise HAProxyError(f"{socket}: {_first_line(command)!r}: {error or 'no answer in time'}") from error


def _first_line(command: str) -> str:
    """What of a command may stand in an error: the lines after the first hold a private key."""
    return command.partition("\n")[0][:60]


def _is_whole(answer: str) -> bool:
    """Each command's answer ends with an empty line; of one that says nothing that line is all (seen of 2.8).

    The master's don't all: where a worker has just ended, one line says so.
    """
    return answer == "\n" or answer.endswith("\n\n")


def _batches(lines: Iterable[str]) -> Iterator[str]:
    batch: list[str] = []
    size = 0
    for line in lines:
        if batch and size + len(line) > _LINE_BYTES:
            yield ";".join(batch)
            batch, size = [], 0
        batch.append(line)
        size += len(line) + 1
    if batch:
        yield ";".join(batch)
