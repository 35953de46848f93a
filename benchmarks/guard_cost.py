"""What guards cost a request, against the same replica without, for a dense network and one of images.

    python -m benchmarks.guard_cost [--rounds 40]

Replicas of one process, without Ray and gateway, share a loaded model of `examples` (its weights are random): one
without guards, one with each guard, one with all of them. A client of the same process asks one after the other. Time
is of the processor, of all threads but the client's. Other programs make a request cost more, never less, so the ratio
is that of the best blocks; the quartiles of the ratios within rounds stand beside it. Bounds are those of the examples'
digits, and requests are held-out digits.
"""

from __future__ import annotations

import argparse
import http.client
import json
import statistics
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks import engines, feedback_cost, guards
from benchmarks.runtime_replica import configuration
from examples import digits_data

from fairlead_cli.evaluation.scoring import Counts
from fairlead_runtime import config
from fairlead_runtime.inference import tops
from fairlead_runtime.model import prepare

MODELS = ("dense", "cnn")
OFF, ALL = "Off", "all"
BLOCK = 10


@dataclass(frozen=True, slots=True)
class Form:
    """One form of a request: its rows, as JSON or as raw numbers."""

    name: str
    rows: int
    is_raw: bool


FORMS = (Form("1 row, JSON", 1, False), Form("1 row, raw", 1, True), Form("32 rows, raw", 32, True))


def request_of(form: Form, name: str, rows: guards.Array) -> tuple[bytes, dict[str, str]]:
    """The body and the headers of an inference request (v2) with these rows."""
    shape, part = [form.rows, *rows.shape[1:]], rows[: form.rows]
    tensor: dict[str, object] = {"name": name, "shape": shape, "datatype": "FP32"}
    if not form.is_raw:
        return json.dumps({"inputs": [tensor | {"data": part.reshape(-1).round(4).tolist()}]}).encode(), {}
    raw = part.astype("<f4").tobytes()
    head = json.dumps({"inputs": [tensor | {"parameters": {"binary_data_size": len(raw)}}]}).encode()
    return head + raw, {"Inference-Header-Content-Length": str(len(head))}


def cost_us(port: int, body: bytes, headers: Mapping[str, str]) -> float:
    """Microseconds of processor time that a request takes this process, without its client."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)

    def ask() -> None:
        connection.request("POST", "/v2/models/bench/infer", body, dict(headers))
        answer = connection.getresponse()
        text = answer.read()
        if answer.status != 200:
            raise SystemExit(f"{answer.status}: {text[:200]!r}")

    ask()
    others_s = time.process_time() - time.thread_time()
    for _ in range(BLOCK):
        ask()
    others_s = time.process_time() - time.thread_time() - others_s
    connection.close()
    return others_s / BLOCK * 1e6


def serve_all(model: Path, *, flat: bool) -> tuple[str, guards.Array, dict[str, int]]:
    """The input's name, rows for requests, and the port of the replica with each choice of guards."""
    prepared = prepare.prepare(config.parse(configuration(model)), None, config.environment(), threads=1)
    digits = digits_data.load(flat=flat)
    signature, predict = prepared.model.signature, prepared.model.predictor
    (shares,) = predict((digits.held_out_inputs,))
    answers = Counts(
        kind=tops.Kind.CLASS,
        labels=digits.held_out_labels.tolist(),
        predicted=shares.argmax(axis=1).tolist(),
        scores=shares.max(axis=1).tolist(),
    )
    found = guards.make_statistics(signature, digits.train_inputs, answers)
    tokens = feedback_cost.VARIANTS[-1]
    ports = {OFF: feedback_cost.serve(tokens, prepared)}
    for name, chosen in {**{each.value: [each] for each in guards.OF_IMAGES}, ALL: list(guards.OF_IMAGES)}.items():
        ports[name] = feedback_cost.serve(tokens, prepared, guards.observe(signature, found, chosen))
    return signature.inputs[0].name, digits.held_out_inputs, ports


def print_table(name: str, rounds: int, model: Path) -> None:
    tensor, rows, ports = serve_all(model, flat=name == "dense")
    heads = " | ".join(form.name for form in FORMS)
    print(f"\n| {name}: ratio to Off, best blocks (quartiles of rounds) | {heads} |\n|{' --- |' * 4}")
    cells: dict[str, list[str]] = {each: [] for each in ports}
    for form in FORMS:
        body, headers = request_of(form, tensor, rows)
        spent: dict[str, list[float]] = {each: [] for each in ports}
        for _ in range(rounds + 1):
            for each, port in ports.items():
                spent[each].append(cost_us(port, body, headers))
        base = spent[OFF][1:]  # the first round warms up
        for each, costs in spent.items():
            low, _, high = statistics.quantiles(mine / off for mine, off in zip(costs[1:], base, strict=True))
            text = f"{min(costs[1:]) / min(base):.2f} ({low:.2f} to {high:.2f})"
            cells[each].append(f"{min(base):.0f} µs" if each == OFF else text)
    for each, texts in cells.items():
        print(f"| {each} | {' | '.join(texts)} |")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=40)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        engines.make_models(Path(folder))
        for name in MODELS:
            print_table(name, chosen.rounds, Path(folder) / name)


if __name__ == "__main__":
    main()
