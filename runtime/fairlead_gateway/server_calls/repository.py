"""The index of Triton's repository extension: the models of this gateway and their versions.

Source: https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_model_repository.md
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

from fairlead_gateway.server_calls import messages
from fairlead_gateway.server_calls.exchange import RefusedError


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One version of a model. `state` is READY or UNAVAILABLE, `reason` a sentence or empty."""

    name: str
    version: str
    state: str
    reason: str


READY, UNAVAILABLE = "READY", "UNAVAILABLE"


def read_request(body: bytes) -> bool:
    """Whether a REST request asks only for what is ready; raises RefusedError."""
    try:
        asked = json.loads(body) if body.strip() else {}
    except (ValueError, RecursionError):
        raise RefusedError(400, "the body is not JSON") from None
    if not isinstance(asked, dict):
        raise RefusedError(400, "the body must be a JSON object")
    if unknown := sorted(asked.keys() - {"ready"}):
        raise RefusedError(400, f"{unknown[0][:64]!r} is not a field of the request; only ready is")
    ready = asked.get("ready", False)
    if not isinstance(ready, bool):
        raise RefusedError(400, "ready must be true or false")
    return ready


def read_message(message: bytes) -> bool:
    """The same of a RepositoryIndexRequest; raises RefusedError."""
    try:
        fields = dict(messages.read_fields(message))
    except ValueError:
        raise RefusedError(400, "the message can't be read as RepositoryIndexRequest") from None
    if fields.get(1):
        raise RefusedError(404, "repository_name: there is one repository, and it has no name; leave it out")
    return bool(fields.get(2, 0))


class Index:
    """What there is at one moment. Each kind of answer is made once, as that takes 10 ms or more for 2,000 versions."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        self._entries = entries
        self._made: dict[tuple[Callable[[Sequence[Entry]], bytes], bool], bytes] = {}

    def to_json(self, *, only_ready: bool) -> bytes:
        """The body of a REST answer."""
        return self._make(_to_json, only_ready)

    def to_message(self, *, only_ready: bool) -> bytes:
        """A RepositoryIndexResponse."""
        return self._make(_to_message, only_ready)

    def _make(self, render: Callable[[Sequence[Entry]], bytes], only_ready: bool) -> bytes:
        made = self._made.get((render, only_ready))
        if made is None:
            made = render([entry for entry in self._entries if entry.state == READY or not only_ready])
            self._made[render, only_ready] = made
        return made


def _to_json(entries: Sequence[Entry]) -> bytes:
    return json.dumps([asdict(entry) for entry in entries]).encode()


def _to_message(entries: Sequence[Entry]) -> bytes:
    return b"".join(
        messages.nested(
            1,
            messages.text(1, entry.name)
            + messages.text(2, entry.version)
            + messages.text(3, entry.state)
            + messages.text(4, entry.reason),
        )
        for entry in entries
    )
