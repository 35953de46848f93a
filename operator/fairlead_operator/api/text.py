"""The texts and times of a status, in the form in which the API server surely takes them and gives them back."""

from __future__ import annotations

import datetime
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime, BeforeValidator, Field, PlainSerializer

MESSAGE_MAX = 1024
LIST_MAP_KEYS = "x-kubernetes-list-map-keys"


def bounded(text: object) -> object:
    """The text cut to what the API server takes, with a mark where it was cut."""
    if isinstance(text, str) and len(text) > MESSAGE_MAX:
        return text[: MESSAGE_MAX - 1] + "…"
    return text


def _whole_second(time: datetime.datetime) -> datetime.datetime:
    return time.astimezone(datetime.UTC).replace(microsecond=0)


def _rfc3339(time: datetime.datetime) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")


Message = Annotated[str, BeforeValidator(bounded), Field(max_length=MESSAGE_MAX)]
Time = Annotated[AwareDatetime, AfterValidator(_whole_second), PlainSerializer(_rfc3339, return_type=str)]
