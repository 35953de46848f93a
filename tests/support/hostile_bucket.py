"""A store that speaks S3's protocol and lists whatever a test gives it, which no real store would take as names."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from xml.sax.saxutils import escape

from aiohttp import web
from tests.support.http_thread import HttpThread

PAGE = 1000


class HostileBucket:
    """`listed` are names and sizes, perhaps without an end; each object's body is `body`, whatever range is asked for.

    With `head_bytes` an object of any name exists, of so many bytes.
    With `breaks_after` ranges are kept to, and each answer takes the next number: after so many bytes it breaks off.
    """

    def __init__(self) -> None:
        self.listed: Iterable[tuple[str, int]] = ()
        self.body = b"x"
        self.head_bytes: int | None = None
        self.redirects_to = ""
        self.breaks_after: list[int] = []
        self.ranges: list[str] = []
        self.asked: list[str] = []
        self._rest: Iterator[tuple[str, int]] = iter(())

    def application(self) -> web.Application:
        application = web.Application()
        application.router.add_route("*", "/{path:.*}", self._answer)
        return application

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(f"{request.method} {request.rel_url}")
        if self.redirects_to:
            raise web.HTTPTemporaryRedirect(self.redirects_to)
        if "list-type" in request.query:
            return self._list("continuation-token" in request.query)
        if request.method == "HEAD":
            return self._head()
        if self.ranges or self.breaks_after:
            return await self._give_range(request)
        last = len(self.body) - 1
        headers = {"etag": '"1"', "content-range": f"bytes 0-{last}/{last + 1}"}
        return web.Response(status=206, body=self.body, headers=headers)

    async def _give_range(self, request: web.Request) -> web.StreamResponse:
        asked = request.headers["range"]
        self.ranges.append(asked)
        first, last = (int(each) for each in asked.removeprefix("bytes=").split("-"))
        part = self.body[first : last + 1]
        headers = {"etag": '"1"', "content-range": f"bytes {first}-{last}/{len(self.body)}"}
        answer = web.StreamResponse(status=206, headers={**headers, "content-length": str(len(part))})
        await answer.prepare(request)
        await answer.write(part[: self.breaks_after.pop(0) if self.breaks_after else None])
        if request.transport is not None:
            request.transport.close()
        return answer

    def _head(self) -> web.Response:
        if self.head_bytes is None:
            return web.Response(status=404)
        dated = {"etag": '"1"', "last-modified": "Thu, 01 Jan 2026 00:00:00 GMT"}
        return web.Response(headers={**dated, "content-length": str(self.head_bytes)})

    def _list(self, goes_on: bool) -> web.Response:
        if not goes_on:
            self._rest = iter(self.listed)
        page = list(itertools.islice(self._rest, PAGE))
        rows = "".join(
            f"<Contents><Key>{escape(name)}</Key><Size>{size}</Size><ETag>&quot;1&quot;</ETag>"
            "<LastModified>2026-01-01T00:00:00.000Z</LastModified></Contents>"
            for name, size in page
        )
        more = "<NextContinuationToken>more</NextContinuationToken>" if len(page) == PAGE else ""
        truncated = str(bool(more)).lower()
        text = f"<ListBucketResult><IsTruncated>{truncated}</IsTruncated>{more}{rows}</ListBucketResult>"
        return web.Response(text=text, content_type="application/xml")


@contextmanager
def serving() -> Iterator[tuple[HostileBucket, str]]:
    """The bucket and its URL."""
    bucket = HostileBucket()
    thread = HttpThread(bucket.application)
    thread.start()
    try:
        yield bucket, thread.url
    finally:
        thread.stop()
