"""The process that converts a model ends with its parent, and gets nothing that it doesn't need."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.support.replica_parts import wait_until

from fairlead_runtime.model import child_process, room
from fairlead_runtime.model.bounds import Bounds
from fairlead_runtime.model.cache import Cache
from fairlead_runtime.model.onnx import child
from fairlead_runtime.model.onnx.convert import Request

REPOSITORY = Path(__file__).resolve().parents[5]


def request(folder: Path, *, seconds: float = 60.0) -> Request:
    return Request(
        key="sha256:" + "0" * 64,
        path=folder / "nothing",
        format=None,
        signature=None,
        bounds=Bounds(bytes_max=1000),
        folder=folder,
        threads=1,
        seconds=seconds,
        data_bytes=2**32,
        is_measured=False,
        parent=os.getpid(),
    )


def test_it_gets_no_variables_but_those_that_find_libraries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "python"
    program.write_text(f"#!/bin/sh\nenv > {tmp_path}/variables\n")
    program.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(program))
    monkeypatch.setenv("RAY_AUTH_TOKEN", "secret")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    child.run(request(tmp_path))
    text = (tmp_path / "variables").read_text()
    assert "PYTHONPATH=" in text
    assert "secret" not in text


def test_a_child_without_processor_time_left_has_an_error_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "python"
    monkeypatch.setattr(sys, "executable", str(program))
    for name, error in (("XCPU", child.TookTooLongError), ("KILL", child.ChildFailedError)):
        program.write_text(f"#!/bin/sh\nkill -{name} $$\n")
        program.chmod(0o700)
        with pytest.raises(child.ChildFailedError) as raised:
            child.run(request(tmp_path))
        assert type(raised.value) is error


def test_its_last_line_is_the_reason_where_it_fails(tmp_path: Path) -> None:
    with pytest.raises(child.ChildFailedError, match=r"the conversion failed: .*nothing"):
        child.run(request(tmp_path))


@pytest.fixture
def importing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Gives the child other code as its TensorFlow, which runs where it would load the model."""

    def give(code: str) -> None:
        (tmp_path / "tensorflow").mkdir()
        (tmp_path / "tensorflow" / "__init__.py").write_text(code)
        monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])

    return give


def test_a_file_that_grows_without_an_end_ends_it(tmp_path: Path, importing: Callable[[str], None]) -> None:
    large = tmp_path / "large"
    importing(f"with open({str(large)!r}, 'wb') as file:\n    file.seek(2**31)\n    file.write(b'x')\n")
    with pytest.raises(child.ChildFailedError, match="File too large"):
        child.run(request(tmp_path))
    assert large.stat().st_size <= child_process.FILE_BYTES_MAX


def test_of_what_it_writes_the_end_is_kept_in_memory_and_nothing_on_the_disk(
    tmp_path: Path, importing: Callable[[str], None], caplog: pytest.LogCaptureFixture
) -> None:
    importing("for _ in range(200): print('x' * 1_000_000)\nraise ValueError('the last line')\n")
    with pytest.raises(child.ChildFailedError, match="the conversion failed: ValueError: the last line"):
        child.run(request(tmp_path))
    assert len(caplog.text) < 3 * child.LOG_BYTES_MAX
    assert {path.name for path in tmp_path.iterdir()} == {"tensorflow"}


def test_its_temporary_files_are_removed_also_where_it_is_killed(
    tmp_path: Path, importing: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "common").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "common"))
    seen = tmp_path / "seen"
    importing(
        "import os, pathlib, signal, tempfile\n"
        "handle, path = tempfile.mkstemp()\n"
        f"pathlib.Path({str(seen)!r}).write_text(path)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    with pytest.raises(child.ChildFailedError, match="signal 9"):
        child.run(request(tmp_path))
    assert not Path(seen.read_text()).exists()
    assert {path.name for path in tmp_path.iterdir()} == {"common", "seen", "tensorflow"}
    assert list((tmp_path / "common").iterdir()) == []


def test_its_memory_is_bounded_before_others_look_at_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "python"
    program.write_text(f"#!/bin/sh\necho $$ > {tmp_path}/pid\nexec cat {tmp_path}/pipe\n")
    program.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(program))
    os.mkfifo(tmp_path / "pipe")
    limits: list[tuple[int, int]] = []

    def look() -> None:
        # Opening it waits for the process to open the other end.
        with (tmp_path / "pipe").open("w"):
            limits.append(resource.prlimit(int((tmp_path / "pid").read_text()), resource.RLIMIT_DATA))

    child.run(request(tmp_path), when_started=look)
    assert limits == [(2**32, 2**32)]


NEED = room.Need(what="a conversion", least_bytes=1, most_bytes=2**32)


def test_it_waits_for_memory_that_another_process_may_still_take(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache, looks, given = Cache(tmp_path / "cache", bytes_max=2**20), [], []

    def find(need: room.Need) -> int:
        assert need.beside == room.Others(modules=child.MODULES, folder=cache.root)
        looks.append(need)
        if len(looks) < 3:
            raise room.NoRoomError("1 MiB are free", is_promised=True)
        return 2**30

    monkeypatch.setattr(room, "find", find)
    monkeypatch.setattr(child, "_POLL_S", 0.0)
    monkeypatch.setattr(child, "run", lambda asked, when_started: given.append(asked))
    child.run_in_room(cache, NEED, lambda data_bytes: data_bytes, time.monotonic() + 100)
    assert given == [2**30]


@pytest.mark.parametrize(("is_promised", "left_s"), [(False, 100.0), (True, -1.0)])
def test_it_does_not_wait_for_what_never_comes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_promised: bool, left_s: float
) -> None:
    def find(_: room.Need) -> int:
        raise room.NoRoomError("1 MiB are free", is_promised=is_promised)

    monkeypatch.setattr(room, "find", find)
    with pytest.raises(room.NoRoomError, match="1 MiB are free"):
        child.run_in_room(
            Cache(tmp_path / "cache", bytes_max=2**20), NEED, lambda data_bytes: data_bytes, time.monotonic() + left_s
        )


def test_output_without_an_end_is_no_more_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "python"
    program.write_text("#!/bin/sh\nexec yes\n")
    program.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(program))
    with pytest.raises(child.TookTooLongError, match=r"took longer than 0\.3 s"):
        child.run(request(tmp_path, seconds=0.3))


def test_one_without_its_parent_ends_at_once(tmp_path: Path) -> None:
    """The parent may be gone before the child has asked the kernel to end with it."""
    (tmp_path / "tensorflow").mkdir()
    (tmp_path / "tensorflow" / "__init__.py").write_text("import time\ntime.sleep(600)\n")
    asked = request(tmp_path).model_copy(update={"parent": 2**22 + 1})  # above every process of Linux
    command = [sys.executable, "-m", "fairlead_runtime.model.onnx.convert", asked.model_dump_json()]
    environment = {"PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    ended = subprocess.run(command, env=environment, timeout=60, check=False)
    assert ended.returncode == -signal.SIGKILL


def test_it_ends_with_its_parent(tmp_path: Path) -> None:
    """Also where the parent is killed. What it would import as TensorFlow takes longer than the test."""
    (tmp_path / "tensorflow").mkdir()
    (tmp_path / "tensorflow" / "__init__.py").write_text("import time\ntime.sleep(600)\n")
    program = f"""
import sys
from pathlib import Path
from tests.unit.runtime.model.onnx.test_child import request
from fairlead_runtime.model.onnx import child
folder = Path({str(tmp_path)!r})
sys.path.insert(0, str(folder))
child.run(request(folder))
"""
    parent = subprocess.Popen([sys.executable, "-c", program], cwd=REPOSITORY)
    try:
        wait_until(lambda: _limited(parent.pid), within_s=120)
        (converting,) = _children(parent.pid)
        parent.send_signal(signal.SIGKILL)
        parent.wait()
        wait_until(lambda: _is_dead(converting), within_s=200)
    finally:
        parent.kill()
        parent.wait()


def _children(pid: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _limited(pid: int) -> bool:
    """Whether its child has bounded itself."""
    return any(Path(f"/proc/{each}/oom_score_adj").read_text().strip() == "1000" for each in _children(pid))


def _is_dead(pid: int) -> bool:
    """Gone, or waited for by nobody."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True
