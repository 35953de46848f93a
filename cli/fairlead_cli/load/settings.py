"""What a run of the counting client is asked to do."""

from __future__ import annotations

import pathlib
import urllib.parse
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from fairlead_cli import gateway_access


class Settings(BaseModel):
    """One run. It ends after ``requests``, after ``duration_s`` or when it is stopped, whichever comes first.

    ``bodies`` are sent in turn. ``expect_shape`` is the shape of the first output (for TensorFlow Serving's protocol
    only its rows), ``expect_answers`` the whole answers to the bodies, byte for byte. ``rate_limit`` is in requests a
    second over all connections; without it the loop goes as fast as answers come. With ``open_loop`` the time of a
    request, and its time limit, begin when it is due by the rate and not when a connection is free for it: what waits
    because the server is slow is counted as latency. ``api_key`` is sent in the header ``authorization``. With
    ``ca_file`` only its certificates are trusted.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", ser_json_bytes="base64", val_json_bytes="base64", hide_input_in_errors=True
    )

    url: Annotated[str, Field(pattern=r"^https?://[^/]+/?$")]
    model: str
    bodies: Annotated[tuple[bytes, ...], Field(min_length=1)]
    path: str | None = None
    headers: tuple[tuple[str, str], ...] = ()
    api_key: Annotated[str | None, Field(pattern=r"^[!-~]+$", repr=False)] = None
    ca_file: pathlib.Path | None = None
    expect_shape: tuple[int, ...] | None = None
    expect_answers: tuple[bytes, ...] | None = None
    requests: Annotated[int, Field(ge=1)] | None = None
    duration_s: Annotated[float, Field(gt=0)] | None = None
    rate_limit: Annotated[float, Field(gt=0)] | None = None
    open_loop: bool = False
    connections: Annotated[int, Field(ge=1, le=4096)] = 16
    timeout_s: Annotated[float, Field(gt=0)] = 30.0
    id_prefix: str = "load"

    @model_validator(mode="after")
    def _require_a_rate(self) -> Self:
        if self.open_loop and self.rate_limit is None:
            raise ValueError("open_loop needs rate_limit: without a rate no request is due at any time")
        return self

    @model_validator(mode="after")
    def _require_one_key(self) -> Self:
        if self.api_key is not None and "authorization" in {name.lower() for name, _ in self.headers}:
            raise ValueError("api_key and headers both set the header authorization; use one of them")
        return self

    @property
    def host(self) -> str:
        return urllib.parse.urlsplit(self.url).hostname or ""

    @property
    def port(self) -> int:
        return urllib.parse.urlsplit(self.url).port or (443 if self.url.startswith("https://") else 80)

    @property
    def target(self) -> str:
        """The request's path: ``path``, or the Open Inference Protocol's for the model."""
        return self.path or f"/v2/models/{self.model}/infer"

    def expected_answer(self, request_id: str) -> bytes | None:
        """The whole answer to the request of this id; None where none is known."""
        number = int(request_id.rpartition("-")[2])
        return self.expect_answers[number % len(self.expect_answers)] if self.expect_answers else None

    def request(self, number: int) -> tuple[str, bytes]:
        """The id and the whole bytes of request ``number``."""
        request_id = f"{self.id_prefix}-{number}"
        body = self.bodies[number % len(self.bodies)]
        names = {name.lower() for name, _ in self.headers}
        lines = [f"POST {self.target} HTTP/1.1", f"host: {self.host}:{self.port}", f"x-request-id: {request_id}"]
        if "content-type" not in names:
            lines.append("content-type: application/json")
        sent = (*self.headers, *gateway_access.build_headers(self.api_key).items())
        lines += [f"{name}: {value}" for name, value in sent]
        lines.append(f"content-length: {len(body)}")
        return request_id, "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body
