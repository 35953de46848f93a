"""Sends held-out samples to the gateway by both protocols and compares the answers with the labels."""

from __future__ import annotations

import dataclasses
import json
import pathlib

import httpx
import numpy as np
import numpy.typing as npt

from fairlead_cli.demo import narration

_ROWS_A_REQUEST = 20


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Heldout:
    """``inputs`` has one row a sample; ``labels`` are class numbers."""

    inputs: npt.NDArray[np.generic]
    labels: npt.NDArray[np.int64]

    @classmethod
    def load(cls, path: pathlib.Path) -> Heldout:
        with np.load(path, allow_pickle=False) as stored:
            return cls(inputs=stored["inputs"], labels=stored["labels"].astype(np.int64))


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    right: int
    asked: int
    revisions: frozenset[str]

    @property
    def accuracy(self) -> float:
        return self.right / self.asked


class Asker:
    """One client of one gateway."""

    def __init__(self, url: str) -> None:
        self._client = httpx.Client(base_url=url, timeout=30)

    def close(self) -> None:
        self._client.close()

    def metadata(self, model: str) -> dict[str, object]:
        return dict(self._require_ok(self._client.get(f"/v2/models/{model}")).json())

    def body(self, model: str, rows: npt.NDArray[np.generic]) -> bytes:
        """An Open Inference request for these rows, with the input's name and type as the model's metadata say."""
        return _body(self._input(model), rows)

    def single_bodies(self, model: str, rows: npt.NDArray[np.generic]) -> tuple[bytes, ...]:
        """A request for each of these rows."""
        tensor = self._input(model)
        return tuple(_body(tensor, row[None]) for row in rows)

    def send(self, model: str, body: bytes) -> httpx.Response:
        """The answer to ``POST /v2/models/NAME/infer``.

        Raises:
            DemoFailed: it is not 200.
        """
        return self._require_ok(self._client.post(f"/v2/models/{model}/infer", content=body))

    def classes(self, model: str, rows: npt.NDArray[np.generic]) -> npt.NDArray[np.int64]:
        """The class of each row, by its highest score."""
        found: npt.NDArray[np.int64] = _scores(self.send(model, self.body(model, rows))).argmax(axis=-1)
        return found

    def _input(self, model: str) -> dict[str, object]:
        found = self.metadata(model)["inputs"]
        if not isinstance(found, list) or len(found) != 1:
            raise narration.DemoFailed(f"{model} has inputs {found}, the demo's models have one")
        return {"name": found[0]["name"], "datatype": found[0]["datatype"]}

    def score_with_open_inference(self, model: str, heldout: Heldout, *, most: int) -> Score:
        """``POST /v2/models/NAME/infer``."""
        right, revisions = 0, set()
        chosen = heldout.inputs[:most]
        for start in range(0, len(chosen), _ROWS_A_REQUEST):
            rows = chosen[start : start + _ROWS_A_REQUEST]
            answer = self.send(model, self.body(model, rows))
            right += _count_right(_scores(answer), heldout.labels[start : start + len(rows)])
            revisions.add(answer.headers.get("x-fairlead-revision", "?"))
        return Score(right=right, asked=len(chosen), revisions=frozenset(revisions))

    def score_with_tensorflow_serving(self, model: str, heldout: Heldout, *, most: int) -> Score:
        """``POST /v1/models/NAME:predict``, rows."""
        chosen = heldout.inputs[:most]
        answer = self._require_ok(self._client.post(f"/v1/models/{model}:predict", json={"instances": chosen.tolist()}))
        right = _count_right(np.asarray(answer.json()["predictions"], dtype=np.float64), heldout.labels[: len(chosen)])
        revision = answer.headers.get("x-fairlead-revision", "?")
        return Score(right=right, asked=len(chosen), revisions=frozenset([revision]))

    @staticmethod
    def _require_ok(answer: httpx.Response) -> httpx.Response:
        if answer.status_code != httpx.codes.OK:
            raise narration.DemoFailed(f"{answer.request.url}: {answer.status_code} {answer.text[:300]}")
        return answer


def _body(tensor: dict[str, object], rows: npt.NDArray[np.generic]) -> bytes:
    return json.dumps({"inputs": [{**tensor, "shape": list(rows.shape), "data": rows.tolist()}]}).encode()


def _scores(answer: httpx.Response) -> npt.NDArray[np.float64]:
    output = answer.json()["outputs"][0]
    return np.asarray(output["data"], dtype=np.float64).reshape(output["shape"])


def _count_right(scores: npt.NDArray[np.float64], labels: npt.NDArray[np.int64]) -> int:
    """How many rows are right: the largest of several scores, or one score against 0.5."""
    classes = scores.argmax(axis=-1) if scores.shape[-1] > 1 else (scores.reshape(len(scores)) > 0.5).astype(np.int64)
    return int((classes == labels).sum())
