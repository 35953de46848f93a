"""The proof before traffic: a replica of the revision runs its own example, asked through a gateway's data port."""

from __future__ import annotations

from typing import Protocol

from fairlead_operator.clients import errors, gateway
from fairlead_operator.state import actions, directory, keys, knowledge, signature
from fairlead_operator.state.gateways import MemberState

PROOF_TIMEOUT_S = 30.0
_EARLIER = (
    "the replica's version does not report evaluation records, which spec.rollout.requireEvaluation needs: update the "
    "image of the Ray nodes"
)


class Gateways(Protocol):
    async def prove(self, data_url: str, model: str, revision: str, *, timeout_s: float) -> gateway.ProofReport: ...

    async def fetch_signature(self, data_url: str, model: str, revision: str) -> signature.Signature: ...


async def prove(
    gateways: Gateways,
    key: keys.ModelKey,
    action: actions.Prove,
    listed: knowledge.Known[tuple[directory.Gateway, ...]] | knowledge.Absent | knowledge.Unknown,
) -> actions.Outcome:
    """Ask through each Ready gateway in turn: the first word of the revision itself counts, for it or against it.

    A contract that can't be read speaks against nobody: the proof is tried again.
    """
    if isinstance(listed, knowledge.Unknown):
        return actions.ProofUnavailable(revision=action.revision, message=listed.reason)
    members = listed.value if isinstance(listed, knowledge.Known) else ()
    message = "the namespace has no gateway that is ready"
    for data_url in (member.data_url for member in members if member.state is MemberState.READY):
        try:
            report = await gateways.prove(data_url, key.name, action.revision, timeout_s=PROOF_TIMEOUT_S)
        except errors.Refused as error:
            return actions.NotProved(revision=action.revision, message=error.cause)
        except errors.FairleadError as error:
            message = error.cause
            continue
        if report.outcome is gateway.ProofOutcome.FAILED:
            return actions.NotProved(revision=action.revision, message=report.message)
        if action.needs_evaluation and report.evaluation is None:
            message = _EARLIER
            continue
        try:
            changes = await _changes(gateways, data_url, key, action, report)
        except errors.FairleadError as error:
            message = f"cannot read the signature of the stable revision: {error.cause}"
            continue
        return actions.Proved(
            revision=action.revision,
            digest=report.digest,
            signature_changes=changes,
            note=report.message,
            shares_calls=report.shares_calls,
            evaluation=report.evaluation,
            variant=report.variant,
        )
    return actions.ProofUnavailable(revision=action.revision, message=message)


async def _changes(
    gateways: Gateways, data_url: str, key: keys.ModelKey, action: actions.Prove, report: gateway.ProofReport
) -> tuple[str, ...]:
    if action.contract_of is None:
        return ()
    before = await gateways.fetch_signature(data_url, key.name, action.contract_of)
    return signature.differences(before, report.signature)
