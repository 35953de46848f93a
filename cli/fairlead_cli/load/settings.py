"""What a run of the counting client is asked to do."""

from __future__ import annotations

import urllib.parse
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class Settings(BaseModel):
    """One run. It ends after ``requests``, after ``duration_s`` or when it is stopped, whichever comes first.

    ``bodies`` are sent in turn. ``expect_shape`` is the shape of the first output (for TensorFlow Serving's protocol
    only its rows), ``expect_answers`` the whole answers to the bodies, byte for byte. ``rate_limit`` is in requests a
    second over all connections; without it the loop goes as fast as answers come.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_bytes="base64", val_json_bytes="base64")

    url: Annotated[str, Field(pattern=r"^http://[^/]+/?$")]
    model: str
    bodies: Annotated[tuple[bytes, ...], Field(min_length=1)]
    path: str | None = None
    headers: tuple[tuple[str, str], ...] = ()
    expect_shape: tuple[int, ...] | None = None
    expect_answers: tuple[bytes, ...] | None = None
    requests: Annotated[int, Field(ge=1)] | None = None
    duration_s: Annotated[float, Field(gt=0)] | None = None
    rate_limit: Annotated[float, Field(gt=0)] | None = None
    connections: Annotated[int, Field(ge=1, le=4096)] = 16
    timeout_s: Annotated[float, Field(gt=0)] = 30.0
    id_prefix: str = "load"

    @property
    def host(self) -> str:
        return urllib.parse.urlsplit(self.url).hostname or ""

    @property
    def port(self) -> int:
        return urllib.parse.urlsplit(self.url).port or 80

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
        lines += [f"{name}: {value}" for name, value in self.headers]
        lines.append(f"content-length: {len(body)}")
        return request_id, "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body
