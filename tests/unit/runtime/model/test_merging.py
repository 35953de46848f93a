"""Whether requests may share a call is proved on real models of TensorFlow, and on stand-ins with one fault each."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import orjson
import pytest
from tests.support.replica_parts import MODEL, Running, Setting, float_signature, post, read_all, running

from fairlead_runtime import config
from fairlead_runtime.inference import costs
from fairlead_runtime.inference.batching import Sharing
from fairlead_runtime.model import loader, merging, prepare
from fairlead_runtime.model.bounds import Bounds
from fairlead_runtime.model.predictor import InputRefusedError, LoadedModel, Tensors
from fairlead_runtime.model.signature import example_inputs

BOUNDS = Bounds(bytes_max=100_000_000)
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.mark.parametrize("name", ["dense", "cnn", "lstm", "pixels", "dense.keras"])
def test_models_that_answer_each_row_independently_pass_the_batching_proof(models, name: str) -> None:
    model = loader.load(models.root / name, None, None, BOUNDS, threads=1)
    proof = merging.prove(model, single_s=0.0)
    assert proof.is_proved, proof.why


@pytest.mark.parametrize("signature", ["ranked", "repeated", "sorted", "centred"])
def test_models_that_compare_rows_fail_the_batching_proof(models, signature: str) -> None:
    model = loader.load(models.root / "listwise", None, signature, BOUNDS, threads=1)
    assert model.signature.is_batched
    proof = merging.prove(model, single_s=0.0)
    assert not proof.is_proved
    assert not merging.prove(model, single_s=1.0).is_proved, "nor on the few cases of a slow model"


def test_a_model_that_keeps_state_fails_the_batching_proof(models) -> None:
    model = loader.load(models.root / "counter", None, None, BOUNDS, threads=1)
    assert not merging.prove(model, single_s=0.0).is_proved


def refuse(_: Tensors) -> Tensors:
    raise InputRefusedError("no")


STAND_INS: dict[str, Callable[[Tensors], Tensors]] = {
    "refuses everything": refuse,
    "always the same": lambda inputs: (np.zeros_like(inputs[0]),),
    "never a number": lambda inputs: (np.full_like(inputs[0], np.nan),),
    "rows from the end": lambda inputs: (inputs[0][::-1],),
    "a row too many": lambda inputs: (np.concatenate((inputs[0], inputs[0][:1])),),
    "one row for all": lambda inputs: (inputs[0][:1],),
    "a scalar": lambda inputs: (np.float32(inputs[0].sum()),),
    "by the number of rows": lambda inputs: (inputs[0] * len(inputs[0]),),
    "other width": lambda inputs: (np.repeat(inputs[0], len(inputs[0]), axis=1),),
    "only from eight rows on": lambda inputs: (inputs[0] + (inputs[0].sum() if len(inputs[0]) >= 8 else 0),),
}


@pytest.mark.parametrize("name", STAND_INS)
def test_models_that_mix_or_lose_rows_fail_the_batching_proof(name: str) -> None:
    model = LoadedModel(signature=float_signature(), predictor=STAND_INS[name], kind="stand-in")
    assert not merging.prove(model, single_s=0.0).is_proved


def test_rounding_differences_between_batch_sizes_are_accepted() -> None:
    def predictor(inputs: Tensors) -> Tensors:
        return (inputs[0] * np.float32(1 + 1e-6 * len(inputs[0])),)

    model = LoadedModel(signature=float_signature(), predictor=predictor, kind="stand-in")
    assert merging.prove(model, single_s=0.0).is_proved


def test_models_with_a_fixed_number_of_rows_never_share_calls() -> None:
    model = LoadedModel(signature=float_signature(rows=1), predictor=lambda inputs: inputs, kind="stand-in")
    assert not merging.prove(model, single_s=0.0).is_proved


def prepared(folder: Path, cache: Path, *, signature: str | None = None, mode: str = "Auto") -> prepare.PreparedModel:
    raw = {
        "schemaVersion": 1,
        "namespace": "default",
        "model": MODEL,
        "revision": "a" * 10,
        "revisionNumber": 1,
        "source": {"uri": folder.as_uri(), "signature": signature},
        "ports": {"host": "127.0.0.1", "first": 1, "count": 1},
        "batching": {"mode": mode},
    }
    environment = config.Environment(cache_dir=cache)
    return prepare.prepare(config.parse(raw), None, environment, threads=1)


def ask(replica: Running, body: object) -> object:
    with replica.connect() as client:
        client.sendall(post(f"/v1/models/{MODEL}:predict", body))
        raw = read_all(client)
    return orjson.loads(raw.partition(b"\r\n\r\n")[2])


@pytest.mark.parametrize(("signature", "shares"), [("ranked", False), ("repeated", False), ("rows", True)])
def test_concurrent_clients_get_the_same_answers_as_single_ones(
    models, tmp_path: Path, signature: str, *, shares: bool
) -> None:
    model = prepared(models.root / "listwise", tmp_path / "cache", signature=signature)
    assert model.merging.is_proved is shares
    calls: list[int] = []

    def predictor(inputs: Tensors) -> Tensors:
        calls.append(len(inputs[0]))
        return model.model.predictor(inputs)

    setting = Setting(
        signature=model.model.signature,
        model=predictor,
        call_s=1.0,  # on the thread, where requests queue while a call runs
        sharing=Sharing(is_proved=model.merging.is_proved),
    )
    requests = [{"inputs": [[count, 10.0 + i, 0, 0] for i in range(3)]} for count in range(3)]
    with running(setting) as replica, ThreadPoolExecutor(8) as clients:
        alone = [ask(replica, each) for each in requests]
        calls.clear()
        answers = list(clients.map(lambda i: ask(replica, requests[i % 3]), range(300)))
    for i, answer in enumerate(answers):
        assert isinstance(answer, dict)
        expected = alone[i % 3]
        assert isinstance(expected, dict)
        np.testing.assert_allclose(answer["outputs"], expected["outputs"], rtol=1e-5)
    assert (max(calls) > 3) is shares


def test_with_batching_off_no_trial_runs_and_no_call_is_shared(models, tmp_path: Path) -> None:
    assert not prepared(models.root / "dense", tmp_path / "cache", mode="Off").merging.is_proved


def test_a_large_image_is_not_computed_on_the_loop_because_a_pixel_was_quick(models, tmp_path: Path) -> None:
    model = prepared(models.root / "pixels", tmp_path / "cache").model
    learned = costs.LearnedCosts()
    learned.observe(costs.size_of([example_inputs(model.signature, 1)]), 1e-6)
    threads: list[tuple[int, str]] = []

    def predictor(inputs: Tensors) -> Tensors:
        threads.append((inputs[0].shape[1], threading.current_thread().name))
        return model.predictor(inputs)

    with running(Setting(signature=model.signature, model=predictor, costs=learned)) as replica:
        for side in (1, 40):
            answer = ask(replica, {"inputs": [[[[0.5] * 3] * side] * side]})
            assert isinstance(answer, dict)
            assert "outputs" in answer
    assert threads == [(1, "fairlead-server"), (40, "fairlead-inference")]
