"""What a Secret says to another server, such as a model's source.

The Ray node has the Secrets as folders: a file for each key, as the kubelet writes them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from fairlead_runtime.errors import LoadError, LoadReason
from fairlead_runtime.model.fetching.purposes import MODELS, Purpose

VALUE_BYTES_MAX = 64 * 1024
KEYS_MAX = 64
_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")


def read(name: str | None, folder: Path | None, purpose: Purpose = MODELS) -> Mapping[str, str]:
    """The keys and values of the Secret, nothing without a name; raises LoadError (ModelForbidden)."""
    if name is None:
        return {}
    if folder is None or not _NAME.fullmatch(name) or not (folder / name).is_dir():
        raise _refuse(
            purpose,
            f"the Ray node has no Secret {name!r}: it must be in {purpose.field}.credentials of the "
            "ServingClass and exist in the model's namespace (FAIRLEAD_SOURCE_SECRETS_DIR of the Ray node)",
        )
    values: dict[str, str] = {}
    try:
        # Names that begin with two dots are the kubelet's own, by which it changes all files at once.
        for path in sorted(each for each in (folder / name).iterdir() if not each.name.startswith("..")):
            if len(values) == KEYS_MAX:
                raise _refuse(purpose, f"the Secret {name} has more than {KEYS_MAX} keys")
            with path.open("rb") as file:
                raw = file.read(VALUE_BYTES_MAX + 1)
            if len(raw) > VALUE_BYTES_MAX:
                raise _refuse(purpose, f"key {path.name} of the Secret {name} has more than {VALUE_BYTES_MAX} bytes")
            values[path.name] = raw.decode().rstrip("\r\n")
    except (OSError, UnicodeDecodeError):
        raise _refuse(purpose, f"the Secret {name} can't be read as text files of the Ray node") from None
    if not values:
        raise _refuse(
            purpose,
            f"the Secret {name} is empty or doesn't exist in the model's namespace; the kubelet brings a new one to "
            "the Ray nodes within some minutes",
        )
    return values


def require(values: Mapping[str, str], keys: tuple[str, ...], what: str, purpose: Purpose = MODELS) -> None:
    """Raises LoadError if the Secret lacks one of the keys."""
    missing = [key for key in keys if not values.get(key)]
    if missing:
        raise _refuse(purpose, f"the Secret has no key {missing[0]}; {what} takes {', '.join(keys)}")


def _refuse(purpose: Purpose, sentence: str) -> LoadError:
    return LoadError(LoadReason.MODEL_FORBIDDEN, f"{purpose.named_by}: {sentence}")
