"""Host patterns of the platform's settings: a host, or `*.` and the end of names."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from fairlead_runtime.errors import LoadError, LoadReason


def parse(text: str, setting: str) -> tuple[str, ...]:
    """Patterns as in `models.example.org, *.example.net`; raises LoadError (NodeMisconfigured)."""
    found = tuple(split(text))
    for each in found:
        rest = each.removeprefix("*.")
        if not rest or "*" in rest or "/" in rest:
            raise setting_error(setting, f"{each!r} must be a host, or *. and the end of its name")
    return found


def match_any(host: str, patterns: Sequence[str]) -> bool:
    """Whether one of the patterns is the host's, in whatever case, and with or without the dot at the end."""
    name = host.lower().rstrip(".")
    return any(_matches(name, each.lower()) for each in patterns)


def split(text: str, by: str = ",") -> Iterator[str]:
    """The parts of a setting's list that are not empty, without the spaces around them."""
    return (part for each in text.split(by) if (part := each.strip()))


def setting_error(name: str, what: str) -> LoadError:
    """The error for a variable of the Ray node that has no meaning."""
    return LoadError(LoadReason.NODE_MISCONFIGURED, f"{name} of the Ray node: {what}")


def _matches(name: str, pattern: str) -> bool:
    return name.endswith(pattern[1:]) if pattern.startswith("*.") else name == pattern
