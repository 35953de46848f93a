"""Memory in the options of a command, written as in a manifest."""

from __future__ import annotations

import re

import typer

from fairlead_operator.api import quantities


def parse_bytes(text: str) -> int:
    """The bytes of a quantity such as 512Mi; raises typer.BadParameter."""
    if re.fullmatch(quantities.MEMORY, text) is None:
        raise typer.BadParameter(f"{text!r} is no quantity of memory; write it as in Kubernetes, such as 512Mi or 2Gi")
    return int(quantities.parse(text))
