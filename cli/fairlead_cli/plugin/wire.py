"""Plain HTTP requests to a gateway or to Ray's dashboard: one answer, or one sentence on why there is none."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import urllib3

from fairlead_cli.plugin import errors

TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    code: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        try:
            return json.loads(self.body)
        except ValueError as error:
            raise errors.PluginError(f"The answer is not JSON: {self.text()[:200]}") from error

    def text(self) -> str:
        return self.body.decode(errors="replace")


def send(method: str, url: str, *, headers: Mapping[str, str], body: bytes | None = None) -> Answer:
    """One request, without a second try: a prediction that may have been made is not made again."""
    try:
        with urllib3.PoolManager() as pool:
            answer = pool.request(method, url, headers=dict(headers), body=body, timeout=TIMEOUT_S, retries=False)
    except urllib3.exceptions.HTTPError as error:
        raise errors.PluginError(f"{url} can't be reached: {error}") from error
    return Answer(code=answer.status, headers=answer.headers, body=answer.data)
