"""What the API server says to an object that is only tried, as kubectl asks it, without a process for each."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

import httpx
from tests.support import kube_api

# kubectl's own, but for the name of the writer: unknown fields are errors.
_PARAMETERS = {"dryRun": "All", "fieldValidation": "Strict"}
SERVING_CLASSES = "/apis/fairlead.dev/v1alpha1/servingclasses"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """Of one try: what would be stored, or what is wrong with it, a line for each cause."""

    stored: Mapping[str, Any] | None
    errors: tuple[str, ...] = ()


class DryRuns:
    """An admin's client of one API server."""

    def __init__(self, kubeconfig: pathlib.Path) -> None:
        url, trust = kube_api.server(kubeconfig), kube_api.admin(kubeconfig)
        self._client = httpx.Client(base_url=url, verify=trust, timeout=60)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    def create(self, path: str, body: Mapping[str, Any]) -> Answer:
        answer = self._client.post(path, json=_written(body), params=_PARAMETERS)
        found = answer.json()
        if answer.is_success:
            return Answer(stored=found)
        causes = (found.get("details") or {}).get("causes") or ()
        lines = [f"{each['field']}: {each['message']}" for each in causes if each.get("field")]
        return Answer(stored=None, errors=tuple(lines) or (str(found["message"]),))


def _written(value: Any) -> Any:
    """As kubectl writes it: Go's JSON has no point in a whole number."""
    if isinstance(value, Mapping):
        return {key: _written(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_written(each) for each in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
