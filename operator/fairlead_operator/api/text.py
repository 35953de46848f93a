"""The texts and times of a status, in the form in which the API server surely takes them and gives them back."""

from __future__ import annotations

import datetime
import re
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime, BeforeValidator, Field, PlainSerializer

MESSAGE_MAX = 1024
LINE_MAX_BYTES = 512
LIST_MAP_KEYS = "x-kubernetes-list-map-keys"
LIST_TYPE = "x-kubernetes-list-type"

_ADDRESS = re.compile(
    r"https?://[^\s,;)\]]+(?<!:)"
    r"|\b(?:\d{1,3}\.){3}\d{1,3}(?::\d+)?"
    r"|\('[^']+', \d+\)"
    r"|\b[\w-]+(?:\.[\w-]+)*:\d{2,5}\b"
)
_SECONDS = len("2026-01-02T03:04:05")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")


def bounded(text: object) -> object:
    """The text cut to what the API server takes, with a mark where it was cut."""
    if isinstance(text, str) and len(text) > MESSAGE_MAX:
        return text[: MESSAGE_MAX - 1] + "…"
    return text


def one_line(text: str, *, most_bytes: int = LINE_MAX_BYTES) -> str:
    """One line without control characters, of at most 512 bytes of UTF-8 unless said otherwise."""
    clean = _CONTROL.sub(" ", text).strip()
    encoded = clean.encode()
    if len(encoded) <= most_bytes:
        return clean
    return encoded[: most_bytes - 3].decode(errors="ignore") + "…"


def hide_addresses(text: str) -> str:
    """The text without addresses inside the cluster: what could not be reached is for the operator's log alone."""
    return _ADDRESS.sub("…", text)


def _whole_second(time: datetime.datetime) -> datetime.datetime:
    return time.astimezone(datetime.UTC).replace(microsecond=0)


def _rfc3339(time: datetime.datetime) -> str:
    return time.isoformat()[:_SECONDS] + "Z"


Message = Annotated[str, BeforeValidator(bounded), Field(max_length=MESSAGE_MAX)]
Time = Annotated[AwareDatetime, AfterValidator(_whole_second), PlainSerializer(_rfc3339, return_type=str)]
