"""Launcher and template, real processes without Ray: what a worker finds, and who ends when somebody is killed."""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping

import pytest
from tests.support.until import until

from fairlead_cli.local import process_table
from fairlead_ray_node import launcher, preload, ray_start

pytestmark = pytest.mark.timeout(1200)

JOB = "01000000"
NICENESS = min(19, os.getpriority(os.PRIO_PROCESS, 0) + 3)
# What a worker does in place of Ray's. It adds what it found to a file, a line for each time that it ran.
SCRIPT = """
import json, os, signal, sys

def option(name):
    return next((each.partition("=")[2] for each in sys.argv if each.startswith(name + "=")), "")

found = {"pid": os.getpid(), "ppid": os.getppid(), "argv": sys.argv, "cwd": os.getcwd(), "environ": dict(os.environ)}
if option("--do") == "look":
    import gc, random, uuid, numpy, ray._raylet
    status = dict(line.split(":", 1) for line in open("/proc/self/status"))
    found |= {name: status[name].strip() for name in ("SigBlk", "SigIgn", "ShdPnd", "Umask", "Cpus_allowed")}
    found |= {
        "SigCgt": int(status["SigCgt"], 16) & 0x7FFFFFFF,  # above are those of the C library's own threads
        "name": __name__, "file": __file__, "path": sys.path, "gc": gc.isenabled(),
        "own group": os.getpgid(0) == os.getpid(), "main": sys.modules["__main__"].__dict__ is globals(),
        "nice": os.getpriority(os.PRIO_PROCESS, 0), "oom": open("/proc/self/oom_score_adj").read(),
        "descriptors": {number: os.readlink(f"/proc/self/fd/{number}") for number in range(3)},
        "others": [number for number in range(3, 200) if os.path.exists(f"/proc/self/fd/{number}")],
        "modules": len(sys.modules),
        "numbers": [
            random.random(), numpy.random.random(), str(uuid.uuid4()), ray._raylet.UniqueID.from_random().hex()
        ],
    }
with open(option("--out"), "a") as file:
    file.write(json.dumps(found) + "\\n")
if option("--do") == "stay":
    signal.pause()
sys.exit(int(option("--exit") or 0))
"""
BY_TENSORFLOW = {"CUDA_VISIBLE_DEVICES": "-1", "KERAS_BACKEND": "tensorflow", "TF2_BEHAVIOR": "1"}


class Node:
    """A folder with the stand-in for Python, a process in place of the raylet, and the workers that were started."""

    def __init__(self, folder: pathlib.Path, environment: Mapping[str, str]) -> None:
        self.folder, self.sockets = folder, folder / "warm"
        self.script = folder / "default_worker.py"
        self.script.write_text(SCRIPT)
        self.out = folder / "out"
        self.out.touch()
        (folder / "session" / "logs").mkdir(parents=True)
        self.sockets.mkdir(mode=0o700)
        self.stand_in = ray_start.write_stand_in(self.sockets, sys.executable)
        self.raylet = subprocess.Popen(["sleep", "600"])
        names = {"RAY_JOB_ID": JOB, "RAY_RAYLET_PID": str(self.raylet.pid), "TF_CPP_MIN_LOG_LEVEL": "2"}
        names["PWD"] = str(folder)  # a shell sets it
        names[launcher.TEMPLATE_WITHIN] = "120"  # a busy machine imports for longer than a worker waits otherwise
        self.environment = {**os.environ, **environment, **names}
        self._started: list[subprocess.Popen[bytes]] = []

    def start(self, *options: str, **variables: str) -> subprocess.Popen[bytes]:
        return self._start([str(self.stand_in)], options, variables)

    def start_ordinary(self, *options: str) -> subprocess.Popen[bytes]:
        return self._start([sys.executable], options, {})

    def _start(
        self, python: list[str], options: tuple[str, ...], variables: Mapping[str, str]
    ) -> subprocess.Popen[bytes]:
        given = [
            f"--temp-dir={self.folder}",
            "--session-name=session",
            "--worker-id=abc",
            f"--out={self.out}",
            *options,
        ]
        started = subprocess.Popen(
            [*python, str(self.script), *given],
            cwd=self.folder,
            env={**self.environment, **variables},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            preexec_fn=_start_as_raylet,
        )
        self._started.append(started)
        return started

    def run(self, *options: str, **variables: str) -> dict:
        """Start a worker, wait for its end, and give what it found."""
        before = len(self.found())
        assert self.start(*options, **variables).wait(timeout=240) == 0, self.log()
        found = self.found()
        assert len(found) == before + 1, self.log()
        return found[-1]

    def found(self) -> list[dict]:
        return [json.loads(line) for line in self.out.read_text().splitlines()]

    def until_found(self, count: int) -> dict:
        until(lambda: len(self.found()) >= count, f"{count} workers ran", explain=self.log)
        return self.found()[-1]

    def log(self) -> str:
        path = self.folder / "session" / "logs" / "warm_start.log"
        return path.read_text() if path.exists() else ""

    def template(self) -> process_table.Identity:
        """The template of the worker that ran last."""
        found = process_table.entry(self.found()[-1]["ppid"])
        assert found is not None
        assert "template.py" in pathlib.Path(f"/proc/{found.identity.pid}/cmdline").read_text()
        return found.identity

    def end(self) -> None:
        for started in self._started:
            started.kill()
            started.wait()
        until(lambda: not any(is_alive(each["pid"]) for each in self.found()), "no worker is left")
        self.raylet.kill()
        self.raylet.wait()
        until(lambda: not templates(self.folder), "no template is left")
        shutil.rmtree(self.folder)


def _start_as_raylet() -> None:
    os.setpgid(0, 0)
    os.nice(3)
    pathlib.Path("/proc/self/oom_score_adj").write_text("700")


def templates(folder: pathlib.Path) -> list[int]:
    found = []
    for each in process_table.entries():
        try:
            command = pathlib.Path(f"/proc/{each.identity.pid}/cmdline").read_bytes()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if b"template.py" in command and os.fsencode(folder) in command and not each.is_zombie:
            found.append(each.identity.pid)
    return found


def is_alive(pid: int) -> bool:
    found = process_table.entry(pid)
    return found is not None and not found.is_zombie


@pytest.fixture(scope="module")
def real() -> Iterator[Node]:
    """With all that a template imports."""
    node = Node(pathlib.Path(tempfile.mkdtemp(prefix="warm-")), {})
    # A worker doesn't wait for ever for a template that is importing. Tests begin with one that is ready.
    node.run()
    until(lambda: list(node.sockets.glob("*.sock")), "the template is ready", deadline_s=400, explain=node.log)
    yield node
    node.end()


Stubs = Callable[..., Node]


@pytest.fixture
def light() -> Iterator[Stubs]:
    """Empty modules in place of Ray and TensorFlow, or what a test puts there: a template that starts at once."""
    nodes = []

    def make(**sources: str) -> Node:
        folder = pathlib.Path(tempfile.mkdtemp(prefix="warm-"))
        stubs = folder / "stubs"
        names = [*preload._MODULES, "fairlead_runtime.model.tensorflow_import"]
        for name in names:
            write_module(stubs, name, "")
        write_module(stubs, "numpy.random", "def seed(): pass")
        ids = "class UniqueID:\n    def from_random(): return UniqueID()\n    def binary(self): return os.urandom(9)"
        write_module(stubs, "ray._raylet", f"import os\n{ids}")
        write_module(stubs, "ray.actor", "ActorClassID = None")
        tensorflow = "def import_for_saved_models(): pass\ndef prepare_environment(): pass"
        write_module(stubs, "fairlead_runtime.model.tensorflow_import", tensorflow)
        for name, source in sources.items():
            write_module(stubs, name, source)
        nodes.append(Node(folder, {"PYTHONPATH": str(stubs)}))
        return nodes[-1]

    yield make
    for node in nodes:
        node.end()


def write_module(folder: pathlib.Path, name: str, source: str) -> None:
    path = folder.joinpath(*name.split("."))
    path.mkdir(parents=True, exist_ok=True)
    for parent in (path, *path.parents[: name.count(".")]):
        (parent / "__init__.py").touch()
    (path / "__init__.py").write_text(source)


def test_a_forked_worker_has_the_same_environment_as_an_ordinary_one(real: Node) -> None:
    assert real.start_ordinary("--do=look").wait(timeout=240) == 0
    ordinary = real.found()[-1]
    forked = real.run("--do=look")
    assert real.template().pid == forked["ppid"], real.log()
    environment = forked.pop("environ")
    assert {**ordinary.pop("environ"), **BY_TENSORFLOW} == environment
    assert forked["modules"] > ordinary["modules"] + 1000
    own = {"pid", "ppid", "modules", "numbers"}
    assert {name: value for name, value in forked.items() if name not in own} == {
        name: value for name, value in ordinary.items() if name not in own
    }
    assert (forked["nice"], forked["oom"], forked["others"]) == (NICENESS, "700\n", [])


def test_forked_workers_draw_different_numbers(real: Node) -> None:
    drawn = [real.run("--do=look")["numbers"] for _ in range(2)]
    assert all(one != other for one, other in zip(*drawn, strict=True)), drawn


def test_a_launcher_ends_with_its_workers_code(light: Stubs) -> None:
    node = light()
    assert node.start("--exit=7").wait(timeout=240) == 7
    assert node.template()
    staying = node.start("--do=stay")
    os.kill(node.until_found(2)["pid"], signal.SIGTERM)
    assert staying.wait(timeout=240) == 128 + signal.SIGTERM


def test_a_killed_launcher_takes_its_worker_with_it_and_no_other(light: Stubs) -> None:
    node = light()
    other, killed = node.start("--do=stay"), None
    survivor = node.until_found(1)["pid"]
    killed = node.start("--do=stay")
    worker = node.until_found(2)["pid"]
    killed.kill()
    until(lambda: not is_alive(worker), "the worker has ended")
    assert is_alive(survivor)
    assert other.poll() is None


def test_a_killed_template_leaves_its_workers_and_another_one_starts(light: Stubs) -> None:
    node = light()
    launcher = node.start("--do=stay")
    worker = node.until_found(1)["pid"]
    first = node.template()
    process_table.send([first], signal.SIGKILL)
    node.run()
    assert node.template() != first
    assert is_alive(worker)
    assert launcher.poll() is None
    os.kill(worker, signal.SIGKILL)
    assert launcher.wait(timeout=240) == 0


def test_a_template_that_keeps_dying_is_not_started_for_ever(light: Stubs) -> None:
    node = light(uvloop="import os; os.kill(os.getpid(), 9)")
    for _ in range(2):
        assert node.run()["ppid"] == os.getpid()
    assert "starts the ordinary way: the template died 5 times" in node.log().splitlines()[-1]


def test_the_template_ends_with_the_raylet(light: Stubs) -> None:
    node = light()
    node.run()
    template = node.template()
    node.raylet.kill()
    until(lambda: not process_table.is_alive(template), "the template has ended", explain=node.log)
    assert list(node.sockets.glob("*.sock")) == []


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("raise ImportError('no such thing')", "ImportError: no such thing"),
        ("import threading, time; threading.Thread(target=time.sleep, args=[9], daemon=True).start()", "threads"),
        ("import os, ray._raylet; os.urandom = lambda size: bytes(size)", "all forks would draw the same ids"),
    ],
)
def test_workers_start_without_a_fork_when_the_template_can_not_work(light: Stubs, source: str, reason: str) -> None:
    node = light(uvloop=source)
    for _ in range(2):
        assert node.run()["ppid"] == os.getpid()
        assert "worker abc starts the ordinary way: the template can't be used: " in node.log().splitlines()[-1]
        assert reason in node.log().splitlines()[-1]
    assert node.log().count(" ends: ") == 1, "it was tried once"


def test_a_template_of_changed_code_forks_no_more(light: Stubs) -> None:
    node = light()
    node.run()
    first = node.template()
    (node.folder / "stubs" / "fairlead_runtime" / "app" / "__init__.py").write_text("changed = True")
    assert node.run()["ppid"] == os.getpid()
    assert "app/__init__.py has changed since the template read it" in node.log()
    node.run()
    assert node.template() != first


def test_a_worker_of_another_environment_is_not_forked(light: Stubs) -> None:
    node = light()
    # The first one: the template was started with an assumption, and another one takes its place.
    node.run()
    first = node.template()
    assert node.run(SECRET="value")["ppid"] == os.getpid()
    assert "its environment differs from the template's: SECRET" in node.log()
    assert "value" not in node.log()
    node.run()
    assert node.template() == first


def test_other_jobs_get_templates_up_to_a_bound(light: Stubs) -> None:
    node = light()
    started = {node.run(RAY_JOB_ID=f"0{number}000000")["ppid"] for number in (1, 2)}
    assert len(started - {os.getpid()}) == 2
    assert node.run(RAY_JOB_ID="03000000")["ppid"] == os.getpid()
    assert "2 other jobs of this node have a template" in node.log()


@pytest.mark.parametrize("option", ["--worker-type=SPILL_WORKER", "--runtime-env-hash=7"])
def test_other_kinds_of_workers_are_not_forked(light: Stubs, option: str) -> None:
    node = light()
    assert node.run(option)["ppid"] == os.getpid()
    assert templates(node.folder) == []


def test_a_file_switches_forking_off_for_new_workers(light: Stubs) -> None:
    node = light()
    node.run()
    (node.sockets / "off").touch()
    assert node.run()["ppid"] == os.getpid()
    (node.sockets / "off").unlink()
    node.run()
    assert node.template()


def test_a_hanging_template_delays_no_worker_and_starts_none_twice(light: Stubs) -> None:
    node = light()
    node.run()
    template = node.template()
    process_table.send([template], signal.SIGSTOP)
    assert node.run()["ppid"] == os.getpid()
    assert "the template didn't answer within 5 s" in node.log()
    process_table.send([template], signal.SIGCONT)
    node.run()  # answered after the request that was given up
    assert len(node.found()) == 3
