"""The proof before traffic: one real prediction, pinned to the revision, through a gateway's data port."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from fairlead_operator.clients import errors, gateway
from fairlead_operator.state import actions, keys, reasons

PREDICTION_TIMEOUT_S = 30.0


class GatewayPredictions(Protocol):
    async def predict(self, data_url: str, model: str, revision: str, *, timeout_s: float) -> gateway.Prediction: ...


async def prove(
    gateways: GatewayPredictions, key: keys.ModelKey, revision: str, data_urls: Sequence[str]
) -> actions.Outcome:
    """Ask through each gateway in turn: the first word of the revision itself counts, for it or against it."""
    message = "no gateway is configured for this namespace"
    for data_url in data_urls:
        try:
            prediction = await gateways.predict(data_url, key.name, revision, timeout_s=PREDICTION_TIMEOUT_S)
        except errors.Refused as error:
            return actions.NotProved(revision=revision, message=str(error))
        except errors.FairleadError as error:
            message = str(error)
            continue
        return actions.Proved(revision=revision, digest=prediction.digest)
    return actions.Refused(reason=reasons.Reason.GATEWAY_UNREACHABLE, message=message)
