"""The parts of ``benchmarks.peers`` that measure nothing: ratios, judgements, tables, requests, and what /proc says."""

from __future__ import annotations

import base64
import concurrent.futures
import contextlib
import importlib
import json
import os
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest
from benchmarks.peers import __main__ as program
from benchmarks.peers import bodies, figures, goals, grpc_load, models, peer, plot, processes, servers
from benchmarks.peers.figures import Case, Measurement, Spread

from fairlead_runtime.protocols.grpc import v2_messages

CASE = Case(model="dense", rows=1, encoding="json", connections=16)
TITLES = {"replica": "ours", "uvicorn": "bare", "ray": "Ray", "litserve": "Lit"}


def measured(rate: float, *, processor_us: float = 100.0, p99_ms: float = 4.0, failed: int = 0) -> Measurement:
    return Measurement(requests=1000, failed=failed, rate=rate, p50_ms=2.0, p99_ms=p99_ms, processor_us=processor_us)


@pytest.mark.parametrize("name", sorted(path.stem for path in (servers.ROOT / "benchmarks/peers").glob("serve_*.py")))
def test_every_server_is_described_without_its_packages(name: str) -> None:
    described = importlib.import_module(f"benchmarks.peers.{name}").PEER
    assert name.removeprefix("serve_") in servers.NAMES
    assert set(described.encodings) <= set(peer.ENCODINGS)


@pytest.mark.parametrize("name", servers.NAMES)
def test_every_direct_package_of_a_server_has_one_version(name: str) -> None:
    lines = program._packages(name)
    assert lines
    assert servers.find_peer(name).requirements is None or all("==" in line for line in lines)


def test_a_ratio_is_taken_within_a_round_and_not_of_the_medians() -> None:
    rounds = [
        {"replica": measured(100), "uvicorn": measured(50)},
        {"replica": measured(10), "uvicorn": measured(20)},
        {"replica": measured(30), "uvicorn": measured(10)},
    ]
    assert figures.ratio(rounds, "replica", "uvicorn", "rate") == Spread(median=2.0, least=0.5, most=3.0)


def test_a_round_in_which_a_request_of_either_side_failed_gives_no_ratio() -> None:
    rounds = [
        {"replica": measured(900, failed=1), "uvicorn": measured(1)},
        {"replica": measured(1), "uvicorn": measured(900, failed=1)},
        {"replica": measured(30), "uvicorn": measured(10)},
        {"replica": measured(30)},
    ]
    assert figures.ratio(rounds, "replica", "uvicorn", "rate") == Spread(median=3.0, least=3.0, most=3.0)
    assert figures.count_void(rounds, "replica") == 1
    assert figures.absolute(rounds[:1], "replica", "rate") is None


def test_a_round_without_a_request_is_void() -> None:
    assert Measurement(requests=0, failed=0, rate=0, p50_ms=0, p99_ms=0, processor_us=0).is_void


@pytest.mark.parametrize(
    ("found", "is_decided"), [((1.1, 1.4), True), ((0.5, 0.9), True), ((0.9, 1.2), False), ((1.0, 1.2), False)]
)
def test_nothing_is_claimed_where_the_rounds_lie_on_both_sides_of_one(
    found: tuple[float, float], is_decided: bool
) -> None:
    assert Spread(median=1.15, least=found[0], most=found[1]).is_decided is is_decided


@pytest.mark.parametrize(
    ("least", "most", "judgement"), [(1.5, 1.9, "reached"), (1.0, 1.4, "missed"), (1.4, 1.6, "undecided")]
)
def test_a_goal_is_reached_or_missed_only_by_every_round(least: float, most: float, judgement: str) -> None:
    assert goals.judge(Spread(median=1.5, least=least, most=most), least=1.5) == judgement


def test_the_goal_against_python_servers_takes_the_best_of_them_and_turns_processor_time_round() -> None:
    rounds = [
        {
            "gateway": measured(1000, processor_us=100),
            "uvicorn": measured(1000, processor_us=100),
            "ray": measured(100, processor_us=900),
            "litserve": measured(125, processor_us=450),
        }
    ]
    titles = {**TITLES, "gateway": "gateway"}
    (line,) = [row for row in goals.rows({CASE: rounds}, titles) if "5 x the best" in row[0]]
    assert line[2:] == ("Lit", "8.00 (8.00 to 8.00)", "reached", "4.50 (4.50 to 4.50)", "missed")


def test_the_tail_is_judged_at_64_connections() -> None:
    rounds = [{"replica": measured(10, p99_ms=6.0)}, {"replica": measured(10, p99_ms=6.2)}]
    many = Case(model="dense", rows=1, encoding="json", connections=64)
    assert [row[3:5] for row in goals.rows({many: rounds, CASE: rounds}, TITLES)] == [
        ("3.05 (3.00 to 3.10)", "undecided")
    ]


def test_a_case_is_a_table_with_the_servers_that_took_part() -> None:
    rounds = [{"replica": measured(3000, processor_us=150), "uvicorn": measured(2000)}]
    lines = figures.table(rounds, TITLES, "uvicorn").splitlines()
    assert lines[2:] == [
        "| ours | 3,000 | 1.50 (1.50 to 1.50) | 2.00 | 4.00 | 150 | 1.50 (1.50 to 1.50) | 0 of 1 |",
        "| bare | 2,000 | - | 2.00 | 4.00 | 100 | - | 0 of 1 |",
    ]
    assert len({line.count("|") for line in lines}) == 1


def test_what_was_not_measured_is_named_with_its_reason() -> None:
    results = program.Results(cases={CASE: [{"replica": measured(1)}]}, absent={"ray": "no wheel"})
    text = program.write_tables(results, TITLES, {"cores": 2})
    assert "Not measured: ray: no wheel" in text
    assert "- cores: 2" in text


def test_the_plot_has_a_bar_for_each_server_and_is_xml() -> None:
    drawn = plot.draw({CASE: [{"replica": measured(4), "uvicorn": measured(2)}]}, {**TITLES, "uvicorn": "a < b"})
    bars = [each for each in ElementTree.fromstring(drawn).iter() if each.tag.endswith("rect") and "x" in each.attrib]
    assert [float(each.attrib["width"]) for each in bars] == [300.0, 150.0, 300.0, 300.0]


@pytest.fixture
def heldout(tmp_path: Path) -> Path:
    inputs = np.arange(40, dtype="float32").reshape(20, 2)
    np.savez(tmp_path / "heldout.npz", inputs=inputs, outputs=inputs * 2)
    return tmp_path / "heldout.npz"


def answer(values: np.ndarray, *, is_binary: bool) -> tuple[bytes, str | None]:
    output = {"name": "y", "datatype": "FP32", "shape": list(values.shape)}
    if not is_binary:
        return json.dumps({"outputs": [{**output, "data": values.ravel().tolist()}]}).encode(), None
    head = json.dumps({"outputs": [output]}).encode()
    return head + values.tobytes(), str(len(head))


@pytest.mark.parametrize("encoding", [peer.JSON, peer.BINARY])
def test_an_answer_is_compared_with_the_outputs_of_its_own_body(heldout: Path, encoding: str) -> None:
    asked = bodies.build("dense", heldout, rows=3, encoding=encoding)
    right = asked.outputs[4]
    bodies.check(asked, 4, *answer(right, is_binary=encoding == peer.BINARY))
    for wrong in (right + 1, right[:2], asked.outputs[5]):
        with pytest.raises(bodies.WrongAnswer):
            bodies.check(asked, 4, *answer(wrong, is_binary=encoding == peer.BINARY))


def test_every_binary_body_has_the_header_that_all_of_them_share(heldout: Path) -> None:
    asked = bodies.build("dense", heldout, rows=3, encoding=peer.BINARY)
    length = int(dict(asked.headers)[bodies.HEADER_LENGTH])
    for number, body in enumerate(asked.bodies):
        tensor = json.loads(body[:length])["inputs"][0]
        rows = np.frombuffer(body, "float32", offset=length).reshape(tensor["shape"])
        assert np.array_equal(rows * 2, asked.outputs[number])


def test_a_grpc_body_is_the_same_request_in_raw_contents(heldout: Path) -> None:
    asked = bodies.build("dense", heldout, rows=3, encoding=peer.GRPC)
    request = v2_messages.MESSAGES["ModelInferRequest"].FromString(asked.bodies[2])
    assert (request.model_name, request.inputs[0].name, list(request.inputs[0].shape)) == ("dense", "pixels", [3, 2])
    rows = np.frombuffer(request.raw_input_contents[0], "float32").reshape(3, 2)
    assert np.array_equal(rows * 2, asked.outputs[2])


def test_an_answer_without_outputs_is_wrong(heldout: Path) -> None:
    with pytest.raises(bodies.WrongAnswer, match="no outputs"):
        bodies.check(bodies.build("dense", heldout, rows=1, encoding=peer.JSON), 0, b'{"error": "no"}', None)


@pytest.mark.parametrize(
    ("shape", "floats", "model", "detail"),
    [
        ([1, 2], 2, "dense", ""),
        ([1, 2], 1, "dense", "1 values in shape [1, 2]"),
        ([2, 1], 2, "dense", "shapes [[2, 1]] instead of [1, 2]"),
        ([1, 2], 2, "other", "an answer for model 'other'"),
    ],
)
def test_a_grpc_answer_is_checked_whole_in_every_call(shape: list[int], floats: int, model: str, detail: str) -> None:
    message = v2_messages.MESSAGES["ModelInferResponse"](model_name=model)
    message.outputs.add(name="y", datatype="FP32", shape=shape)
    message.raw_output_contents.append(b"\0\0\0\0" * floats)
    handler = grpc.unary_unary_rpc_method_handler(lambda request, context: message.SerializeToString())
    handlers = grpc.method_handlers_generic_handler("inference.GRPCInferenceService", {"ModelInfer": handler})
    server = grpc.server(concurrent.futures.ThreadPoolExecutor(2))
    server.add_generic_rpc_handlers((handlers,))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        found = grpc_load.run(
            grpc_load.Asked(
                address=f"127.0.0.1:{port}",
                model="dense",
                bodies=[base64.b64encode(b"body").decode()],
                shape=[1, 2],
                connections=2,
                seconds=0.2,
                rate=None,
            )
        )
    finally:
        server.stop(None).wait()
    assert found.requests > 0
    assert (found.failed, found.detail) == ((found.requests, detail) if detail else (0, ""))


def test_the_processes_of_a_server_are_those_that_inherited_its_mark() -> None:
    mark = f"test-{os.getpid()}"
    code = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'input()'])"
    environment = {**os.environ, processes.MARK: mark}
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, env=environment) as child:
        while len(processes.find(mark)) < 2:
            assert child.poll() is None
        found = processes.find(mark)
        assert child.pid in found
        assert processes.pss_mb(found) > 1
        assert processes.find(mark + "0") == []
        child.communicate(b"\n")
    assert processes.find(mark) == []


def test_processor_time_counts_both_kinds_and_awaited_children(tmp_path: Path) -> None:
    (tmp_path / "7").mkdir()
    fields = ["S", *["0"] * 10, "100", "20", "3", "2", "99"]
    (tmp_path / "7" / "stat").write_text(f"7 (a (b) c) {' '.join(fields)}")
    assert processes.processor_s([7, 8], tmp_path) == 125 / os.sysconf("SC_CLK_TCK")


def test_an_interrupted_run_keeps_the_cases_that_are_complete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    @contextlib.contextmanager
    def serving(*_: object) -> Iterator[list[servers.Server]]:
        yield []

    def measure(model: models.Model, ready: object, flags: object, results: program.Results) -> None:
        if model.name == "cnn":
            raise KeyboardInterrupt
        results.cases[CASE] = [{"replica": measured(7)}]

    monkeypatch.setattr(program, "_serving", serving)
    monkeypatch.setattr(program, "_measure_model", measure)
    monkeypatch.setattr(program.models, "prepare", lambda name: models.Model(name=name, folder=tmp_path))
    monkeypatch.setattr(program.signal, "signal", lambda *_: None)
    with pytest.raises(KeyboardInterrupt):
        program.main(["--servers", "replica", "--models", "dense", "cnn", "--out", str(tmp_path)])
    (kept,) = json.loads((tmp_path / "peers.json").read_text())["cases"]
    assert (kept["model"], kept["rounds"][0]["replica"]["rate"]) == ("dense", 7)
