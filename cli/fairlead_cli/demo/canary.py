"""A canary that live requests and their true labels judge: its spec, and the client that sends the labels."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from fairlead_cli.demo import asking, labelling, watching

# A quarter of the traffic, judged on live requests and true labels beside the version that it would replace.
SPEC: Mapping[str, Any] = {
    "strategy": "Canary",
    "steps": [{"setWeight": 25}, {"analysis": {}}],
    "analysis": {
        "intervalSeconds": 1,
        "count": 120,
        "metrics": [
            {"name": "errors", "errorRatio": {}},
            {"name": "accuracy", "accuracy": {"marginPercent": 5}},
        ],
    },
}
_LABELLED_REQUESTS_A_LOOK = 25


def wait_for_verdict(
    model: watching.Model,
    gateway_url: str,
    labelled: asking.Heldout,
    what: str,
    holds: Callable[[Mapping[str, Any]], bool],
    *,
    within_s: float = watching.READY_WITHIN_S,
) -> tuple[Mapping[str, Any], Mapping[str, int]]:
    """The object once ``holds`` is true of it, and how many predictions of each revision were labelled."""
    labeller = labelling.Labeller(gateway_url, model.name, labelled)

    def update(found: Mapping[str, Any]) -> bool:
        if holds(found):
            return True
        labeller.send_labels(_LABELLED_REQUESTS_A_LOOK)
        return False

    try:
        return model.until(what, update, within_s=within_s), labeller.labelled
    finally:
        labeller.close()
