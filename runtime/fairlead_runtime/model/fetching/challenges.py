"""What a server asks for with the status 401: the challenges of its headers.

Source: RFC 9110, 11.2 and 11.6.1: a header has one challenge or several, and a server may send several headers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

_WORD = "[A-Za-z0-9!#$%&'*+.^_`|~-]+"
_PARAMETER = rf'(?P<name>{_WORD})[ \t]*=[ \t]*(?:"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<plain>{_WORD}))'
_SCHEME = rf"(?P<scheme>{_WORD})(?:[ \t]+[A-Za-z0-9._~+/-]+=*(?=[ \t]*(?:,|$)))?"
_ITEM = re.compile(rf"[ \t,]*(?:{_PARAMETER}|{_SCHEME})")


@dataclass(frozen=True, slots=True)
class Challenge:
    """A scheme and the names of its parameters, both in lower case."""

    scheme: str
    parameters: dict[str, str] = field(default_factory=dict)


def parse(header: str) -> Sequence[Challenge]:
    """The challenges up to the first part that is none. `header` is one, or several joined by a comma."""
    found: list[Challenge] = []
    at = 0
    while part := _ITEM.match(header, at):
        at = part.end()
        if part["scheme"] is not None:
            found.append(Challenge(part["scheme"].lower()))
        elif found:
            value = part["plain"] if part["quoted"] is None else re.sub(r"\\(.)", r"\1", part["quoted"])
            found[-1].parameters.setdefault(part["name"].lower(), value)
    return found


def find_token_server(header: str) -> Mapping[str, str] | None:
    """The parameters of the first challenge for a token that says where to get one, None without such a challenge."""
    bearer = [each.parameters for each in parse(header) if each.scheme == "bearer"]
    return next((each for each in bearer if "realm" in each), bearer[0] if bearer else None)
