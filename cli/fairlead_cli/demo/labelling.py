"""A client that sends held-out samples, and for each answer the true label as feedback."""

from __future__ import annotations

import collections
from collections.abc import Mapping

import httpx

from fairlead_cli.demo import asking, narration

_ROWS_A_REQUEST = 20
_FEEDBACK_HEADER = "x-fairlead-feedback"
_REVISION = "x-fairlead-revision"


class Labeller:
    """One client of one model; the samples go round and round."""

    def __init__(self, url: str, model: str, heldout: asking.Heldout) -> None:
        asker = asking.Asker(url)
        try:
            starts = range(0, len(heldout.inputs) - _ROWS_A_REQUEST + 1, _ROWS_A_REQUEST)
            self._asked = [
                (
                    asker.body(model, heldout.inputs[start : start + _ROWS_A_REQUEST]),
                    heldout.labels[start : start + _ROWS_A_REQUEST].tolist(),
                )
                for start in starts
            ]
        finally:
            asker.close()
        self._client = httpx.Client(base_url=url, timeout=30)
        self._model = model
        self._next = 0
        self._labelled: collections.Counter[str] = collections.Counter()

    def close(self) -> None:
        self._client.close()

    @property
    def labelled(self) -> Mapping[str, int]:
        """How many predictions of each revision have a true label."""
        return self._labelled

    def send_labels(self, requests: int) -> None:
        """Send so many requests of 20 samples each, and the labels of their answers.

        Raises:
            DemoFailed: a request or its feedback was not answered with 200.
        """
        for _ in range(requests):
            body, labels = self._asked[self._next]
            self._next = (self._next + 1) % len(self._asked)
            answer = self._require_ok(self._client.post(f"/v2/models/{self._model}/infer", content=body))
            token = answer.headers[_FEEDBACK_HEADER]
            label = {"token": token, "label": labels}
            # The token in the header makes the gateway choose the same replica for it each time.
            self._require_ok(
                self._client.post(f"/v2/models/{self._model}/feedback", json=label, headers={_FEEDBACK_HEADER: token})
            )
            self._labelled[answer.headers[_REVISION]] += len(labels)

    @staticmethod
    def _require_ok(answer: httpx.Response) -> httpx.Response:
        if answer.status_code != httpx.codes.OK:
            raise narration.DemoFailed(f"{answer.request.url}: {answer.status_code} {answer.text[:300]}")
        return answer
