"""The request that the load is made of, from a file."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fairlead_cli.tuning.errors import TuningError

BYTES_MAX = 8 * 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """`is_v1`: it is one of `:predict`, else one of the Open Inference Protocol."""

    text: bytes
    is_v1: bool


def read(path: pathlib.Path) -> Body:
    """Raises TuningError where the file is no request."""
    try:
        if path.stat().st_size > BYTES_MAX:
            raise TuningError(f"{path} has more than {BYTES_MAX} bytes: give a smaller request by --request")
        text = path.read_bytes()
        found = json.loads(text)
    except OSError as error:
        raise TuningError(f"{path}: {error.strerror}; --request must be a file with the body of a request") from None
    except ValueError as error:
        raise TuningError(f"{path} is not JSON ({error}); --request must be the body of a request") from None
    if not isinstance(found, Mapping) or not ({"inputs", "instances"} & found.keys()):
        raise TuningError(
            f"{path} has neither 'inputs' nor 'instances'; --request must be the body of POST /v2/models/NAME/infer or "
            "POST /v1/models/NAME:predict"
        )
    return Body(text=text, is_v1=not _is_v2(found))


def _is_v2(found: Mapping[str, Any]) -> bool:
    inputs = found.get("inputs")
    return isinstance(inputs, list) and bool(inputs) and all(isinstance(i, dict) and "datatype" in i for i in inputs)
