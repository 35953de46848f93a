"""Fetches a published file: resumed where an earlier try stopped, refused unless its SHA-256 is the published one."""

from __future__ import annotations

import hashlib
import pathlib
import socket
import threading
import urllib.parse
import urllib.request

import httpx

from fairlead_cli.local import errors, progress

_CONNECT_S = 5.0
_READ_S = 30.0
_TRIES = 5


def check_reachable(url: str) -> None:
    """Find out within seconds whether anybody listens there (or at the proxy for it).

    Raises:
        NotThere: the host has no address, refuses, or does not answer.
    """
    asked = urllib.parse.urlsplit(url)
    proxy = urllib.request.getproxies().get(asked.scheme)
    if proxy and not urllib.request.proxy_bypass(asked.hostname or ""):
        asked = urllib.parse.urlsplit(proxy)
    port = asked.port or (443 if asked.scheme == "https" else 80)
    outcome: list[OSError | None] = []

    def connect() -> None:
        try:
            socket.create_connection((asked.hostname or "", port), timeout=_CONNECT_S).close()
            outcome.append(None)
        except OSError as error:
            outcome.append(error)

    # In a thread: looking up a name has no time limit of its own.
    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    thread.join(_CONNECT_S)
    if not outcome:
        raise errors.NotThere(f"{asked.hostname} did not answer within {_CONNECT_S:.0f} s")
    if outcome[0] is not None:
        raise errors.NotThere(f"{asked.hostname} can't be reached ({outcome[0].strerror or outcome[0]})")


def text(url: str) -> str:
    """A small text file.

    Raises:
        NotThere: it can't be had.
    """
    try:
        with _client() as client:
            return client.get(url).raise_for_status().text
    except httpx.HTTPError as error:
        raise errors.NotThere(f"{url}: {error}") from error


def published_checksum(listing: str, file_name: str) -> str:
    """The SHA-256 of a file in a published listing: the bare digest, or lines of `<digest>  <file>`.

    Raises:
        NotThere: the listing does not have it.
    """
    for line in listing.splitlines():
        words = line.split()
        if words and len(words[0]) == 64 and (len(words) == 1 or words[1].lstrip("*") == file_name):
            return words[0].lower()
    raise errors.NotThere(f"no checksum is published for {file_name}")


def fetch(url: str, target: pathlib.Path, *, sha256: str, reporter: progress.Reporter) -> None:
    """Bring the file to `target`; what is there of it from an earlier try is not fetched again.

    Raises:
        NotThere: it can't be had, or it is not the published one (then it is removed).
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + ".part")
    failure: httpx.HTTPError | None = None
    for _ in range(_TRIES):
        try:
            _fetch_rest(url, part, reporter)
            break
        except httpx.HTTPStatusError as error:
            raise errors.NotThere(f"{url}: {error.response.status_code}") from error
        except httpx.HTTPError as error:
            failure = error
    else:
        raise errors.NotThere(f"{url}: {failure}") from failure
    found = _sha256(part)
    if found != sha256:
        part.unlink()
        raise errors.NotThere(f"{url} is refused: its SHA-256 is {found}, published is {sha256}")
    part.replace(target)


def _fetch_rest(url: str, part: pathlib.Path, reporter: progress.Reporter) -> None:
    have = part.stat().st_size if part.exists() else 0
    headers = {"Range": f"bytes={have}-", "Accept-Encoding": "identity"} if have else {"Accept-Encoding": "identity"}
    with _client() as client, client.stream("GET", url, headers=headers) as answer:
        if have and answer.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
            return  # the file is complete; a wrong one is found by its checksum
        answer.raise_for_status()
        resumed = answer.status_code == httpx.codes.PARTIAL_CONTENT
        done = have if resumed else 0
        length = answer.headers.get("Content-Length")
        total = done + int(length) if length else None
        name = url.rsplit("/", 1)[-1]
        mode = "ab" if resumed else "wb"
        bar = reporter.bar(f"fetching {name}", total=total, done=done, unit="bytes")
        with part.open(mode) as file, bar as advance:
            for chunk in answer.iter_raw():
                file.write(chunk)
                file.flush()
                advance(len(chunk))


def _client() -> httpx.Client:
    return httpx.Client(follow_redirects=True, timeout=httpx.Timeout(_READ_S, connect=_CONNECT_S))


def _sha256(path: pathlib.Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
