"""The proof before traffic: one real prediction, pinned to the revision, through a gateway's data port."""

from __future__ import annotations

from typing import Protocol

from fairlead_operator.clients import errors, gateway
from fairlead_operator.state import actions, directory, keys, knowledge, reasons, signature
from fairlead_operator.state.gateways import MemberState

PREDICTION_TIMEOUT_S = 30.0


class GatewayPredictions(Protocol):
    async def predict(self, data_url: str, model: str, revision: str, *, timeout_s: float) -> gateway.Prediction: ...

    async def fetch_signature(self, data_url: str, model: str, revision: str) -> signature.Signature: ...


async def prove(
    gateways: GatewayPredictions,
    key: keys.ModelKey,
    action: actions.Prove,
    listed: knowledge.Known[tuple[directory.Gateway, ...]] | knowledge.Absent | knowledge.Unknown,
) -> actions.Outcome:
    """Ask through each Ready gateway in turn: the first word of the revision itself counts, for it or against it.

    A contract that can't be read speaks against nobody: the proof is made again.
    """
    if isinstance(listed, knowledge.Unknown):
        return actions.Refused(reason=reasons.Reason.GATEWAY_UNREACHABLE, message=listed.reason)
    members = listed.value if isinstance(listed, knowledge.Known) else ()
    message = "the namespace has no gateway that is ready"
    for data_url in (member.data_url for member in members if member.state is MemberState.READY):
        try:
            prediction = await gateways.predict(data_url, key.name, action.revision, timeout_s=PREDICTION_TIMEOUT_S)
        except errors.Refused as error:
            return actions.NotProved(revision=action.revision, message=str(error))
        except errors.FairleadError as error:
            message = str(error)
            continue
        try:
            changes = await _changes(gateways, data_url, key, action, prediction)
        except errors.FairleadError as error:
            message = f"the contract to keep to can't be read: {error}"
            continue
        return actions.Proved(revision=action.revision, digest=prediction.digest, signature_changes=changes)
    return actions.Refused(reason=reasons.Reason.GATEWAY_UNREACHABLE, message=message)


async def _changes(
    gateways: GatewayPredictions,
    data_url: str,
    key: keys.ModelKey,
    action: actions.Prove,
    prediction: gateway.Prediction,
) -> tuple[str, ...]:
    if action.contract_of is None:
        return ()
    before = await gateways.fetch_signature(data_url, key.name, action.contract_of)
    return signature.differences(before, prediction.signature)
