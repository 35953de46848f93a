"""What is done with the outputs of each answered prediction: its scores are counted, its token is made."""

from __future__ import annotations

from fairlead_runtime.analysis_counters import AnalysisCounters
from fairlead_runtime.feedback.tokens import HEADER, Signer
from fairlead_runtime.inference import tops
from fairlead_runtime.model.predictor import Tensors
from fairlead_runtime.model.signature import Signature


class Issuer:
    """Lives on the server's loop, on the hot path. Without a signer it only counts."""

    def __init__(self, signature: Signature, measured: AnalysisCounters, signer: Signer | None) -> None:
        self._read = tops.reader(signature)
        self._measured = measured
        self._signer = signer

    def headers(self, outputs: Tensors) -> tuple[tuple[bytes, bytes], ...]:
        """The answer's headers for these outputs; none where the model has no top prediction."""
        found = self._read(outputs)
        if found is None:
            return ()
        self._measured.add_scores(found.scores)
        token = self._signer.issue(found) if self._signer is not None else b""
        return ((HEADER, token),) if token else ()
