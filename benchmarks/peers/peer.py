"""What a server of the benchmark is, and what it is asked to serve."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

JSON, BINARY, GRPC = ENCODINGS = ("json", "binary", "grpc")


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """One server. ``requirements`` is a file of ``requirements/``; None: the environment of this repository.

    ``path`` is where it takes requests, with ``{model}`` for the model's name. ``has_one_port``: gRPC comes to the port
    of HTTP.
    """

    title: str
    requirements: str | None
    encodings: tuple[str, ...]
    path: str = "/v2/models/{model}/infer"
    has_one_port: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """The model and the loopback ports of one server, and a folder that is its own."""

    model: str
    saved_model: Path
    http_port: int
    grpc_port: int
    folder: Path

    def to_json(self) -> str:
        return json.dumps(asdict(self), default=str)

    @classmethod
    def from_json(cls, text: str) -> Self:
        given: Mapping[str, Any] = json.loads(text)
        return cls(**{**given, "saved_model": Path(given["saved_model"]), "folder": Path(given["folder"])})
