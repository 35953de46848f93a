"""What the directory is asked: one request line, checked and bounded. No sockets here."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import parse_qsl

PATH = "/v1/replicas"
METRICS_PATH = "/metrics"
WAIT_S_MAX = 5.0
_VERSION = re.compile(r"[0-9a-f]{16}")
_SECONDS = re.compile(r"[0-9]{1,2}(\.[0-9]{1,6})?")


class RefusedError(Exception):
    """The request is answered with `status` and one sentence."""

    def __init__(self, status: int, sentence: str) -> None:
        self.status = status
        self.sentence = sentence
        super().__init__(status, sentence)


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """Answer at once, or where the version is still `since` after up to `wait_s` seconds.

    With `is_scrape` it is the replicas' metrics that are asked for.
    """

    is_scrape: bool
    since: str | None
    wait_s: float
    keep_alive: bool


def parse(head: bytes) -> Question:
    """A request's head, up to its empty line; raises RefusedError."""
    line, _, rest = head.decode("latin-1").partition("\r\n")
    parts = line.split(" ")
    if len(parts) != 3 or not parts[2].startswith("HTTP/1."):
        raise RefusedError(400, "this is no request of HTTP")
    method, target, version = parts
    headers = _headers(rest)
    if "transfer-encoding" in headers or headers.get("content-length", "0") != "0":
        raise RefusedError(400, "a request to the directory has no body")
    path, _, query = target.partition("?")
    if path not in (PATH, METRICS_PATH):
        raise RefusedError(404, f"only {PATH} and {METRICS_PATH} are served here")
    if method != "GET":
        raise RefusedError(405, "only GET is answered")
    since, wait_s = _query(query)
    keep_alive = version == "HTTP/1.1" and headers.get("connection", "").lower() != "close"
    return Question(is_scrape=path == METRICS_PATH, since=since, wait_s=wait_s, keep_alive=keep_alive)


def _headers(rest: str) -> dict[str, str]:
    pairs = (line.partition(":") for line in rest.split("\r\n") if line)
    return {name.strip().lower(): value.strip() for name, _, value in pairs}


def _query(query: str) -> tuple[str | None, float]:
    try:
        fields = dict(parse_qsl(query, keep_blank_values=True, max_num_fields=8))
    except ValueError:
        raise RefusedError(400, "the query has too many fields") from None
    since = fields.get("since") or None
    if since is not None and _VERSION.fullmatch(since) is None:
        raise RefusedError(400, "since: it must be the version of an earlier answer")
    wait = fields.get("wait", "0")
    if _SECONDS.fullmatch(wait) is None or float(wait) > WAIT_S_MAX:
        raise RefusedError(400, f"wait: it must be a number of seconds from 0 to {WAIT_S_MAX:g}")
    return since, float(wait)
