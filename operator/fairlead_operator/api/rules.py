"""Rules that the API server itself checks: CEL expressions, each with a message that says what would be right.

The API server puts the field's path before the message. A plain OpenAPI ``pattern`` is refused with the bare
expression, which helps nobody; so CEL checks text, and `crd` leaves the pattern out where a rule stands.

Source: https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#validation-rules
"""

from __future__ import annotations

import json
from typing import Any

from pydantic import Field

VALIDATIONS = "x-kubernetes-validations"
INT_OR_STRING = "x-kubernetes-int-or-string"
SERVER_DEFAULT = "x-fairlead-server-default"  # becomes the schema's ``default``, which pydantic's own does not


def rule(expression: str, message: str, *, field: str | None = None) -> dict[str, Any]:
    """One CEL rule; ``self`` is the value that carries it, ``field`` the path below it that the message is about."""
    check = {"rule": " ".join(expression.split()), "message": message}
    return check if field is None else check | {"fieldPath": field}


def rules(*checks: dict[str, Any]) -> dict[str, Any]:
    """The schema keys that carry the rules; for ``json_schema_extra``."""
    return {VALIDATIONS: list(checks)}


def number(least: float, most: float) -> Any:
    """A field of a number between two bounds, both included, that need not be whole.

    The API server cuts a bound's fraction off before it compares it with a whole number: 0 passes a minimum of 0.01.
    So a rule compares, and ``crd`` leaves bounds with a fraction out.
    """
    form = rule(f"self >= {float(least)} && self <= {float(most)}", f"must be from {least:g} to {most:g}")
    return Field(ge=least, le=most, json_schema_extra=rules(form))


def text(pattern: str, message: str, *more: dict[str, Any], max_length: int) -> Any:
    """A field of text of one form. ``max_length`` is what the API server needs to bound the cost of the rules."""
    form = rule(f"self.matches({json.dumps(pattern)})", message)
    return Field(max_length=max_length, pattern=pattern, json_schema_extra=rules(form, *more))


def at_least(field: str, least: str, message: str) -> dict[str, Any]:
    """A rule for a field that is a number or a quantity; what is neither is left to the field's own rule."""
    quantity = f"string(self.{field})"
    return rule(
        f"!isQuantity({quantity}) || quantity({quantity}).compareTo(quantity('{least}')) >= 0",
        message,
        field=f".{field}",
    )
