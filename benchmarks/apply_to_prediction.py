"""From `kubectl apply` to the first prediction, and where the time goes: ``python -m benchmarks.apply_to_prediction``.

Real API server, Ray, gateway and operator on this machine; the dense digits model; Ray is warm: it runs Serve and has
served this model's code before. Each run applies a new object and asks for a prediction again and again. The moments
in between are read from the logs of the operator and of Ray, and from the replica's own metrics.

Runs take turns: workers as forks of the template, workers that start the ordinary way. So their ratio holds on a busy
machine, too, where the seconds do not.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import pathlib
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping

import httpx
from tests.e2e.stage import Model, Stage, raised
from tests.support import ray_nodes

RUNS = 5
WITHIN_S = 300.0
_PAUSE_S = 0.01

# What the operator's log says at the end of each of its steps; the revision's name comes between.
OPERATOR = {
    "the operator saw it": r"add the finalizer .* key=\S+/{model}\b",
    "ControllerRevision kept": r"keep revision {revision}\b",
    "Serve config put": r"start \S*{model}--{revision}\b",
    "candidate's route written": r"write route .*candidate {revision} at 0 %",
    "proved by a prediction": r"ask revision {revision} for its proof\b",
    "traffic's route written": r"write route .*stable {revision}\b",
}
_CONTROLLER = {
    "Ray took the application": r"Deploying new app '[^']*{model}--{revision}'",
    "Ray imported it": r"Imported and built app '[^']*{model}--{revision}'",
    "Ray asked for a process": r"Starting Replica\(.*{model}--{revision}'",
}
_REPLICA = {"process up, code imported": r"Started initializing replica"}
_PHASES = ("fetch", "load", "warmup")


def main() -> None:
    kept = os.environ.get("FAIRLEAD_E2E_FOLDER")
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else RUNS
    with contextlib.ExitStack() as stack:
        folder = pathlib.Path(kept or stack.enter_context(tempfile.TemporaryDirectory()))
        stage = stack.enter_context(raised(folder, keep=bool(kept)))
        with stage.deployed("warm"):
            forked, ordinary = [], []
            for number in range(runs):
                forked.append(measure(stage, f"forked{number}"))
                with switched_off(stage):
                    ordinary.append(measure(stage, f"ordinary{number}"))
    print(table(forked, ordinary))


@contextlib.contextmanager
def switched_off(stage: Stage) -> Iterator[None]:
    """Workers that start inside the block start the ordinary way."""
    switch = stage.local.warm_start("ray") / "off"
    switch.touch()
    try:
        yield
    finally:
        switch.unlink()


def measure(stage: Stage, name: str) -> Mapping[str, float]:
    """One object applied; each moment in seconds from the start of `kubectl apply`."""
    model = Model(stage, name)
    began_s = time.time()
    try:
        model.apply()
        applied_s = time.time()
        first_s = _first_answer(stage, name)
        model.until_settled()
        revision = model.stable
        moments = {"`kubectl apply` returned": applied_s, **_from_logs(stage, name, revision)}
        moments |= dict(_from_replica(stage, model, moments["process up, code imported"]))
        moments["first prediction answered"] = first_s
        return {what: at_s - began_s for what, at_s in sorted(moments.items(), key=lambda item: item[1])}
    finally:
        model.delete()


def _first_answer(stage: Stage, name: str) -> float:
    row = stage.models.inputs(1)[0]
    body = {"instances": [row]}
    end_s = time.monotonic() + WITHIN_S
    while time.monotonic() < end_s:
        if stage.gateway.post(f"/v1/models/{name}:predict", json=body).status_code == httpx.codes.OK:
            return time.time()
        time.sleep(_PAUSE_S)
    raise TimeoutError(f"{name} gave no prediction within {WITHIN_S:.0f} s")


def _from_logs(stage: Stage, model: str, revision: str) -> dict[str, float]:
    serve_logs = stage.local.ray_logs / "serve"
    controller = max(serve_logs.glob("controller_[0-9]*.log"), key=lambda path: path.stat().st_mtime)
    replica = next(serve_logs.glob(f"replica_*{model}--{revision}_*.log"))
    places = ((stage.local.logs / "operator.log", OPERATOR), (controller, _CONTROLLER), (replica, _REPLICA))
    found: dict[str, float] = {}
    for path, patterns in places:
        lines = path.read_text(errors="replace").splitlines()
        for what, pattern in patterns.items():
            wanted = re.compile(pattern.format(model=model, revision=revision))
            found[what] = next(_time_of(line) for line in lines if wanted.search(line))
    return found


def _from_replica(stage: Stage, model: Model, up_s: float) -> Iterator[tuple[str, float]]:
    """The replica's own phases, one after the other from when its process was up."""
    port = next(each["port"] for each in ray_nodes.listed(stage.local) if each["revision"] == model.stable)
    text = httpx.get(f"http://127.0.0.1:{port}/metrics").raise_for_status().text
    at_s = up_s
    for phase in _PHASES:
        line = next(each for each in text.splitlines() if f'phase="{phase}"' in each)
        at_s += float(line.rpartition(" ")[2])
        yield f"replica: {phase} done", at_s


def _time_of(line: str) -> float:
    """The moment of a line of the operator's log or of Ray's, in this machine's time."""
    text = re.search(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d[.,]\d{3}", line)
    if text is None:
        raise ValueError(f"no time in {line!r}")
    return datetime.datetime.fromisoformat(text.group().replace(",", ".")).timestamp()


def table(forked: list[Mapping[str, float]], ordinary: list[Mapping[str, float]]) -> str:
    """Medians: when each moment was reached, and how long after the one before; both ways, and the ratio of totals."""
    quick, slow = (_medians(runs) for runs in (forked, ordinary))
    rows = [
        f"| moment (median of {len(forked)}) | forked: at, s | step, s | ordinary: at, s | step, s |",
        "| --- | --- | --- | --- | --- |",
    ]
    before = {"quick": 0.0, "slow": 0.0}
    for what, at_s in sorted(quick.items(), key=lambda item: item[1]):
        steps = at_s - before["quick"], slow[what] - before["slow"]
        rows.append(f"| {what} | {at_s:.2f} | {steps[0]:.2f} | {slow[what]:.2f} | {steps[1]:.2f} |")
        before = {"quick": at_s, "slow": slow[what]}
    totals = {
        name: [round(max(run.values()), 2) for run in runs]
        for name, runs in (("forked", forked), ("ordinary", ordinary))
    }
    ratios = [one / other for one, other in zip(totals["forked"], totals["ordinary"], strict=True)]
    summary = {"total s": totals, "ratio, median": round(statistics.median(ratios), 2), "load": os.getloadavg()}
    return "\n".join([*rows, "", json.dumps(summary)])


def _medians(runs: list[Mapping[str, float]]) -> Mapping[str, float]:
    return {what: statistics.median(run[what] for run in runs) for what in runs[0]}


if __name__ == "__main__":
    main()
