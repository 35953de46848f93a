"""The parts of feedback for one replica, put together."""

from __future__ import annotations

import time
from dataclasses import dataclass

from fairlead_runtime.analysis_counters import AnalysisCounters
from fairlead_runtime.feedback import keys
from fairlead_runtime.feedback.issuer import Issuer
from fairlead_runtime.feedback.ledger import Ledger
from fairlead_runtime.feedback.tokens import Signer
from fairlead_runtime.model.signature import Signature


@dataclass(frozen=True, slots=True, kw_only=True)
class Feedback:
    """What answers and what takes labels; no ledger where there is no key.

    `copy_mark` is the value that a request needs to be accepted as a copy for this revision; None when there is no key.
    """

    issuer: Issuer
    ledger: Ledger | None
    copy_mark: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """Whose tokens these are."""

    namespace: str
    model: str
    revision: str


def build(signature: Signature, measured: AnalysisCounters, names: Names, *, secret: str | None) -> Feedback:
    """`secret` is the Ray cluster's token."""
    if secret is None:
        return Feedback(issuer=Issuer(signature, measured, None), ledger=None)
    signer = Signer(
        keys.derive(secret, namespace=names.namespace, model=names.model),
        context=keys.context_id(namespace=names.namespace, model=names.model),
        revision=names.revision,
    )
    mark = keys.copy_mark(secret, namespace=names.namespace, model=names.model, candidate=names.revision)
    return Feedback(
        issuer=Issuer(signature, measured, signer),
        ledger=Ledger(signer, measured, time.time),
        copy_mark=mark.encode(),
    )
