"""Whether the CRD that the API server has is as new as this version of the operator."""

from __future__ import annotations

import logging

from fairlead_operator import telemetry
from fairlead_operator.api import skew
from fairlead_operator.clients import kubernetes, paths

_STATUS_PATH = "status."

log = logging.getLogger(__name__)


class CrdCheck:
    """Says where the CRD is older than this operator, before any status shows it."""

    def __init__(self, api: kubernetes.KubernetesClient, *, metrics: telemetry.Metrics) -> None:
        self._api = api
        self._metrics = metrics
        self.missing_fields: tuple[str, ...] = ()
        """The fields of the status that the CRD lacks, as dotted paths below ``status``."""

    async def compare(self) -> None:
        """Compare it now.

        Raises:
            errors.FairleadError: The API server doesn't show its schemas.
        """
        served = skew.find_schema(await self._api.get(paths.schemas()))
        missing = skew.missing_from(served, skew.own_schema()) if served is not None else ("the whole schema",)
        self.missing_fields = tuple(f.removeprefix(_STATUS_PATH) for f in missing if f.startswith(_STATUS_PATH))
        self._metrics.crd_missing.set(len(missing))
        if missing:
            log.warning("the CRD is older than the operator; update it", extra={"missing": ", ".join(missing)})
