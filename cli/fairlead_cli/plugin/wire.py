"""Plain HTTP requests to a gateway or to Ray's dashboard: one answer, or one sentence on why there is none."""

from __future__ import annotations

import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import urllib3

from fairlead_cli.plugin import errors

TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    url: str
    code: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        try:
            return json.loads(self.body)
        except ValueError as error:
            raise errors.PluginError(f"{self.url} did not answer with JSON: {self.text()[:200]}") from error

    def text(self) -> str:
        return self.body.decode(errors="replace")


def send(
    method: str,
    url: str,
    *,
    check: str,
    headers: Mapping[str, str],
    body: bytes | None = None,
    trust: ssl.SSLContext | None = None,
) -> Answer:
    """One request, without a second try: a prediction that may have been made is not made again.

    A redirect is not followed either, so a header with a key goes to this server alone. ``trust`` decides which
    certificates are accepted; None: those of the system. ``check`` is what a person can check where no server answers.
    """
    if not url.startswith(("http://", "https://")):
        raise errors.PluginError(
            f"{url} can't be reached: the address must begin with http:// or https://. Check {check}."
        )
    try:
        with urllib3.PoolManager(ssl_context=trust) as pool:
            answer = pool.request(method, url, headers=dict(headers), body=body, timeout=TIMEOUT_S, retries=False)
    except urllib3.exceptions.SSLError as error:
        raise errors.UntrustedError(f"{url} has no certificate that is accepted: {error}.") from error
    except urllib3.exceptions.HTTPError as error:
        raise errors.PluginError(f"{url} can't be reached: {error}. Check {check}.") from error
    return Answer(url=url, code=answer.status, headers=answer.headers, body=answer.data)
