"""What failed for want of memory, or by another chance, is tried again; what was found out is kept."""

from __future__ import annotations

import errno
import os
import signal
import threading
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.support import small_onnx

from fairlead_runtime.config import Technique
from fairlead_runtime.errors import LoadError
from fairlead_runtime.model import child_process
from fairlead_runtime.model.cache import Cache
from fairlead_runtime.model.onnx import child, conversions, predictor
from fairlead_runtime.model.onnx.record import keep
from fairlead_runtime.optimization import comparing, graphs, make, record, start, variants
from fairlead_runtime.optimization.recipes import RECIPES

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.timeout(300)]
TECHNIQUES = (Technique.FOLDING, Technique.WEIGHT_CLUSTERING)
LOST = "WeightClustering64"
Run = Callable[..., None]


class Node:
    """A node with one model; `run` is in place of the process that makes the variants, `runs` are its calls."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.content = small_onnx.two_layers()
        self.samples = small_onnx.write_samples(folder, self.content)
        self.wanted = small_onnx.wanted(folder)
        self.cache = Cache(folder / "cache", bytes_max=2**30)
        self.real: Run = child.run
        self.runs: list[make.Request] = []
        self.run: Run = self.real
        monkeypatch.setattr(child, "run", self._run)

    def _run(self, request: make.Request, *, when_started: Callable[[], None]) -> None:
        self.runs.append(request)
        self.run(request, when_started)

    def find(self) -> variants.Kept:
        found = self.ask()
        assert isinstance(found, variants.Kept)
        return found

    def ask(self) -> variants.Kept | record.Refusal:
        return variants.find_or_make(
            self.wanted, self.cache, TECHNIQUES, self.content, small_onnx.SIGNATURE, self.samples, 200.0
        )

    def kill_once(self) -> None:
        """The process that makes one of the variants is killed, as by a node without memory."""

        def killed(request: make.Request, _: Callable[[], None]) -> None:
            self.run = self.real
            request.attempt.write_text(LOST)
            raise child.ChildFailedError(f"the optimization was ended by signal {int(signal.SIGKILL)}")

        self.run = killed


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Node:
    return Node(tmp_path, monkeypatch)


def names(table: record.Table) -> list[str]:
    return [each.name for each in table.variants]


def test_a_variant_whose_process_was_killed_is_made_for_the_next_replica(node: Node) -> None:
    node.kill_once()
    first = node.find()
    assert names(first.table) == ["Float", "Folded", "WeightClustering16"]
    assert [each.name for each in first.table.unmade] == [LOST]
    assert "ended by signal 9" in first.table.unmade[0].why
    second = node.find()
    assert names(second.table) == ["Float", "Folded", LOST, "WeightClustering16"]
    assert second.table.unmade == ()
    assert (second.folder / record.NAME).is_file()
    count = len(node.runs)
    assert node.find().table == second.table
    assert len(node.runs) == count


def test_where_the_next_try_fails_as_well_the_other_variants_serve(node: Node) -> None:
    node.kill_once()
    first = node.find()

    node.run = without_memory
    second = node.find()
    assert names(second.table) == names(first.table)
    assert second.table.tries == 2
    count = len(node.runs)
    # The next one comes too soon for a third try.
    assert node.find().table == second.table
    assert len(node.runs) == count


def without_memory(*_: object) -> None:
    raise child.ChildFailedError("the optimization failed: MemoryError")


def test_a_making_that_fails_as_a_whole_is_tried_again_less_and_less_often(node: Node) -> None:
    """Each try makes a start wait. The first replica that starts after the failure tries again at once."""
    node.run = without_memory
    for count in (1, 2, 2):
        found = node.ask()
        assert isinstance(found, record.Refusal)
        assert (found.outcome, found.why) == ("NotPrepared", "the optimization failed: MemoryError")
        assert len(node.runs) == count


def test_after_a_making_that_failed_the_next_one_may_go_well(node: Node) -> None:
    node.run = without_memory
    node.ask()
    node.run = node.real
    assert names(node.find().table) == ["Float", "Folded", LOST, "WeightClustering16"]


def test_replicas_that_start_together_make_them_once(node: Node) -> None:
    """Also where a variant failed by chance: those that waited for that take the others."""
    node.kill_once()
    found: list[variants.Kept] = []
    real, is_running, may_go_on = node.real, threading.Event(), threading.Event()
    node.real = lambda *given: (is_running.set(), may_go_on.wait(100), real(*given))[2]
    threads = [threading.Thread(target=lambda: found.append(node.find())) for _ in range(3)]
    threads[0].start()
    assert is_running.wait(100)
    for thread in threads[1:]:
        thread.start()
    may_go_on.set()
    for thread in threads:
        thread.join()
    assert [names(each.table) for each in found] == [["Float", "Folded", "WeightClustering16"]] * 3
    assert len(node.runs) == 2


def test_conversions_go_on_beside_an_optimization(node: Node) -> None:
    turns: list[str] = []

    def look(request: make.Request, when_started: Callable[[], None]) -> None:
        when_started()
        with node.cache.exclusive(conversions.ONE_AT_A_TIME, 0.0), node.cache.exclusive(child.STARTING, 0.0):
            turns.append("converted")
        with pytest.raises(LoadError), node.cache.exclusive(variants.ONE_AT_A_TIME, 0.0):
            pass
        node.real(request, lambda: None)

    node.run = look
    node.find()
    assert turns == ["converted"]


@pytest.mark.parametrize(
    ("error", "is_chance"),
    [
        (MemoryError(), True),
        (OSError(errno.ENOSPC, "No space left on device"), True),
        (predictor.CannotOpenError("Exception during loading: std::bad_alloc"), True),
        (graphs.CannotMakeError("its layers can't be observed: Failed to allocate memory for requested buffer"), True),
        (graphs.CannotMakeError("it has no layer with weights"), False),
        (predictor.CannotOpenError("its tensors are not those of the signature"), False),
        (comparing.UnusableModelError("the model fails on the samples from row 0: the index is out of bounds"), False),
    ],
)
def test_the_cause_says_whether_it_was_chance(tmp_path: Path, error: Exception, is_chance: bool) -> None:
    request = make.Request(
        key="sha256:" + "0" * 64,
        model=tmp_path,
        samples=tmp_path,
        signature=keep(small_onnx.SIGNATURE),
        techniques=TECHNIQUES,
        folder=tmp_path,
        attempt=tmp_path / "attempt",
        threads=1,
        seconds=1,
        data_bytes=1,
        parent=1,
    )

    def fail(_: object) -> make.Made:
        raise error

    opened = predictor.open_model(small_onnx.two_layers(), small_onnx.SIGNATURE, threads=1)
    base = make.Made(name="Float", content=b"", opened=opened, correct=0)
    found = make.attempt(request, RECIPES[0], fail, base, (small_onnx.rows(),))
    assert isinstance(found, record.Unmade)
    assert found.is_chance is is_chance


def test_the_process_that_has_one_variant_keeps_its_own_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It runs beside the one that made the variants, and both have together what that one may have."""
    asked: list[start.Request] = []
    monkeypatch.setattr(start, "measure", lambda each: asked.append(each) or start.Started(start_s=1, rss_bytes=1))
    limit = 2**40
    before = child_process.data_bytes()
    request = make.Request(
        key="sha256:" + "0" * 64,
        model=tmp_path,
        samples=tmp_path,
        signature=keep(small_onnx.SIGNATURE),
        techniques=TECHNIQUES,
        folder=tmp_path,
        attempt=tmp_path / "attempt",
        threads=1,
        seconds=1,
        data_bytes=limit,
        parent=1,
    )
    make.start_alone(request, tmp_path / "model", (small_onnx.rows(2),))
    assert asked[0].data_bytes <= limit - before / 2


def test_a_process_that_has_one_variant_ends_at_its_limit(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx.z"
    path.write_bytes(zlib.compress(small_onnx.two_layers()))
    few = start.Request(
        path=path, inputs=path, signature=keep(small_onnx.SIGNATURE), threads=1, parent=os.getpid(), data_bytes=2**20
    )
    with pytest.raises(start.FailedError, match=r"its start failed: .*([Mm]emory|bad_alloc)"):
        start.measure(few)
