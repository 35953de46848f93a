"""The metrics of all replicas of the node on one page, as a Prometheus knows the node's address and not their ports.

A replica's page is text of another process, and one bad line would cost the whole page: each line is checked, and a
replica's series have to carry its own name.

Source: Prometheus' text format 0.0.4.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Iterable, Mapping

from fairlead_runtime.discovery.watch import Watch

PATH = "/metrics"
PAGES = "fairlead_replica_pages"
PAGES_HELP = "Replicas of the node whose metrics are on its page (Read), and those that did not answer (Unread)."
PAGE_BYTES_MAX = 512 * 1024
ANSWER_S = 1.0
AT_ONCE = 16
KEEP_S = 1.0
_NAME = rb"fairlead_replica_[a-z_]{1,64}"
_ABOUT = re.compile(rb"# (HELP|TYPE) (" + _NAME + rb") [ -~]{1,200}")
_SAMPLE = re.compile(
    rb"("
    + _NAME
    + rb")\{((?:[a-z_]{1,32}=\"(?:[^\"\\\n]|\\[\"\\n]){0,128}\",?){1,12})\} (?:[0-9.eE+-]{1,32}|NaN|\+Inf)"
)


class Scrape:
    """Lives on the directory's loop. ``host`` is the address that the node's replicas listen at."""

    def __init__(self, host: str, watch: Watch) -> None:
        self._host = host
        self._watch = watch
        self._lock = asyncio.Lock()
        self._page = b""
        self._made_at_s = float("-inf")

    async def page(self) -> bytes:
        """The page as of now, or of a moment ago; raises FolderError when the node's replicas aren't known."""
        async with self._lock:
            if time.monotonic() - self._made_at_s > KEEP_S:
                ports = {each["name"]: each["port"] for each in json.loads(self._watch.look().body)["replicas"]}
                self._page = await asyncio.to_thread(merged, await self._pages(ports))
                self._made_at_s = time.monotonic()
            return self._page

    async def _pages(self, ports: Mapping[str, int]) -> dict[str, bytes | None]:
        free = asyncio.Semaphore(AT_ONCE)

        async def read(name: str, port: int) -> bytes | None:
            async with free:
                return await _read(self._host, port, name)

        pages = await asyncio.gather(*(read(name, port) for name, port in ports.items()))
        return dict(zip(ports, pages, strict=True))


async def _read(host: str, port: int, name: str) -> bytes | None:
    """The replica's own page; None where it doesn't answer, answers something else or too much."""
    try:
        async with asyncio.timeout(ANSWER_S):
            reader, writer = await asyncio.open_connection(host, port)
            try:
                head = f"GET {PATH} HTTP/1.1\r\nhost: node\r\nx-fairlead-replica: {name}\r\nconnection: close\r\n\r\n"
                writer.write(head.encode())
                answer = bytearray()
                while chunk := await reader.read(1 << 16):
                    answer += chunk
                    if len(answer) > PAGE_BYTES_MAX:
                        return None
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return None
    status, _, rest = bytes(answer).partition(b"\r\n")
    return rest.partition(b"\r\n\r\n")[2] if status.startswith(b"HTTP/1.1 200 ") else None


def merged(pages: Mapping[str, bytes | None]) -> bytes:
    """One page of the replicas' pages, by their names: the series of a metric together, as the format requires."""
    about: dict[bytes, list[bytes]] = {}
    samples: dict[bytes, list[bytes]] = {}
    for name, page in sorted(pages.items()):
        for metric, line, is_sample in _valid_lines(name, (page or b"").split(b"\n")):
            if is_sample:
                samples.setdefault(metric, []).append(line)
            elif metric not in samples:
                about.setdefault(metric, []).append(line)
    lines = [line for metric, found in samples.items() for line in (*about.get(metric, ()), *found)]
    unread = sum(page is None for page in pages.values())
    lines += [f"# HELP {PAGES} {PAGES_HELP}".encode(), f"# TYPE {PAGES} gauge".encode()]
    lines += [f'{PAGES}{{state="Read"}} {len(pages) - unread}'.encode(), f'{PAGES}{{state="Unread"}} {unread}'.encode()]
    return b"\n".join(lines) + b"\n"


def _valid_lines(name: str, lines: Iterable[bytes]) -> Iterable[tuple[bytes, bytes, bool]]:
    """Each line with its metric and whether it is a sample; samples belong to the metric that was declared last."""
    own, metric = f'replica="{name}"'.encode(), b""
    seen: set[bytes] = set()
    for line in lines:
        if (found := _ABOUT.fullmatch(line)) is not None:
            key = found[1] + found[2]
            if found[2] != PAGES.encode() and key not in seen:
                seen.add(key)
                metric = found[2]
                yield metric, line, False
        elif metric and (sample := _SAMPLE.fullmatch(line)) is not None:
            series = sample[0].rpartition(b" ")[0]
            if sample[1].startswith(metric) and own in sample[2].split(b",") and series not in seen:
                seen.add(series)
                yield metric, line, True
