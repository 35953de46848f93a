"""Whose fault it is that a replica could not load its model, by the runtime's own word for it.

The words are those of ``fairlead_runtime.errors.LoadReason``; a contract test compares both.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum


class Blame(StrEnum):
    MODEL = "model"
    """The revision can't work: it is condemned."""
    ENVIRONMENT = "environment"
    """The same revision may work later: it is tried again with growing pauses, and never condemned for it."""
    ADDRESS = "address"
    """The model's address gives nothing, perhaps for a moment: tried again with growing pauses. While another revision
    serves, that ends with the progress deadline or after some attempts, and the revision is condemned."""
    UNKNOWN = "unknown"
    """Nothing says whose fault it is: the revision is condemned, but only while the other revision is ready."""


BLAME: Mapping[str, Blame] = {
    "ConfigInvalid": Blame.ENVIRONMENT,  # operator and runtime are of different versions
    "ModelNotFound": Blame.ADDRESS,
    "ModelForbidden": Blame.ADDRESS,
    "FetchFailed": Blame.ENVIRONMENT,
    "DiskFull": Blame.ENVIRONMENT,
    "ModelTooLarge": Blame.MODEL,
    "DigestMismatch": Blame.MODEL,
    "UnsafeModel": Blame.MODEL,
    "ModelCorrupt": Blame.MODEL,
    "ModelUnsupported": Blame.MODEL,
    "FormatMismatch": Blame.MODEL,
    "SignatureNotFound": Blame.MODEL,
    "ExampleInvalid": Blame.MODEL,
    "GuardUnusable": Blame.MODEL,
    "CannotCut": Blame.MODEL,
    "CutFailed": Blame.ENVIRONMENT,
    "WarmupFailed": Blame.MODEL,
    "NodeMisconfigured": Blame.ENVIRONMENT,
    "CannotListen": Blame.ENVIRONMENT,
}


def blame_for(reason: str) -> Blame:
    """Whose fault a failed start is; UNKNOWN where the runtime gave no reason that this version knows."""
    return BLAME.get(reason, Blame.UNKNOWN)
