"""Tracking servers that are hostile: what they list is bounded and checked."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from tests.support import object_servers, raw_server
from tests.support.raw_server import Connection

from fairlead_runtime.errors import LoadError, LoadReason
from fairlead_runtime.model import source
from fairlead_runtime.model.bounds import Bounds
from fairlead_runtime.model.cache import Cache

MIB = 1024 * 1024
BOUNDS = Bounds(bytes_max=MIB, entries_max=50, overhead_bytes_max=8 * MIB, idle_s=60, total_s=120)

List = Callable[[str], Any]


def play(list_folder: List, found: object = "mlflow-artifacts:/1/model") -> Callable[[Connection], None]:
    """A server with one version, whose folders are what the function gives by path."""

    def answer(connection: Connection) -> None:
        target = urlsplit(connection.target)
        if target.path.endswith("get-download-uri"):
            value: object = {"artifact_uri": found}
        else:
            value = list_folder(parse_qs(target.query)["path"][0])
        body = json.dumps(value).encode()
        connection.send(f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)

    return answer


def refusal(answers: Callable[[Connection], None], tmp_path: Path, bounds: Bounds = BOUNDS) -> tuple[LoadError, int]:
    """The error, and how many requests were made."""
    with raw_server.serving(answers) as served:
        access = object_servers.access(served.url, tmp_path)
        with pytest.raises(LoadError) as raised:
            source.fetch("models:/m/1", None, Cache(tmp_path / "cache", bytes_max=10**9), bounds, access=access)
        return raised.value, served.count_connections()


def files(*found: object) -> dict[str, object]:
    return {"files": list(found)}


def test_folders_within_folders_without_an_end_are_refused(tmp_path: Path) -> None:
    error, asked = refusal(play(lambda _: files({"path": "deeper", "is_dir": True})), tmp_path)
    assert error.reason is LoadReason.UNSAFE_MODEL
    assert "too deep" in error.sentence
    assert asked < 50


def test_many_folders_in_one_answer_are_refused_before_they_are_asked_for(tmp_path: Path) -> None:
    many = files(*({"path": f"f{number}", "is_dir": True} for number in range(2000)))
    error, asked = refusal(play(lambda _: many), tmp_path)
    assert (error.reason, asked) == (LoadReason.MODEL_TOO_LARGE, 2)
    assert "1000 folders" in error.sentence


def test_answers_that_are_large_together_are_refused(tmp_path: Path) -> None:
    padded = {**files({"path": "deeper", "is_dir": True}), "more": "x" * MIB}
    error, asked = refusal(play(lambda _: padded), tmp_path)
    assert "sent more than 8388608 bytes that are not the model's content" in error.sentence
    assert asked < 12


def test_the_time_is_one_for_all_requests(tmp_path: Path) -> None:
    quick = Bounds(bytes_max=MIB, overhead_bytes_max=8 * MIB, idle_s=5, total_s=0.5)
    numbers = itertools.count()

    def slow(connection: Connection) -> None:
        connection.stopped.wait(0.1)
        many = files(*({"path": f"f{next(numbers)}", "is_dir": True} for _ in range(10)))
        play(lambda path: many if path == "1/model" else files())(connection)

    error, asked = refusal(slow, tmp_path, quick)
    assert "was not read within 0.5 s (FAIRLEAD_FETCH_TOTAL_SECONDS)" in error.sentence
    assert asked <= 6


@pytest.mark.parametrize(
    "listed",
    [
        {"files": 7},
        {"files": {"path": "a"}},
        {"files": "abc"},
        {"files": True},
        {"files": [7]},
        {"files": [{"path": 7}]},
        {"files": [{}]},
        {"files": [{"path": "a", "is_dir": "no"}]},
        {"files": [{"path": "a.keras", "file_size": "²"}]},
        {"files": [{"path": "a.keras", "file_size": -1}]},
        {"files": [{"path": "a.keras", "file_size": True}]},
        {"files": [{"path": "a.keras", "file_size": [1]}]},
        [],
        7,
    ],
    ids=str,
)
def test_an_answer_of_other_types_is_no_answer_of_a_tracking_server(listed: object, tmp_path: Path) -> None:
    error, _ = refusal(play(lambda _: listed), tmp_path)
    assert (error.reason, "not the API of a tracking server" in error.sentence) == (LoadReason.FETCH_FAILED, True)


@pytest.mark.parametrize("name", ["a/b", "..", "", "a\nb", "a\\b", "n" * 300, "\ud800"])
@pytest.mark.parametrize("is_folder", [True, False])
def test_a_name_that_is_no_plain_one_is_refused(name: str, is_folder: bool, tmp_path: Path) -> None:
    error, asked = refusal(play(lambda _: files({"path": name, "is_dir": is_folder})), tmp_path)
    assert (error.reason, asked) == (LoadReason.UNSAFE_MODEL, 2), error.sentence


@pytest.mark.parametrize("found", [7, None, "s3://[", "x" * 5000, "mlflow-artifacts:/" + "x" * 5000])
def test_a_location_that_is_none_is_refused(found: object, tmp_path: Path) -> None:
    error, asked = refusal(play(lambda _: files(), found), tmp_path)
    assert asked == 1
    assert "valid URI" not in error.sentence, error.sentence


@pytest.mark.parametrize(
    "authority",
    ["other.example.org", "127.0.0.1", "127.0.0.1:1", "me@127.0.0.1:{port}", "127.0.0.1:{port}0", "[", "h:x"],
)
def test_artifacts_at_another_server_are_refused(authority: str, tmp_path: Path) -> None:
    """The same path of the tracking server could be another model."""

    def answer(connection: Connection) -> None:
        host = next(each for each in connection.request.decode().splitlines() if each.lower().startswith("host:"))
        there = authority.replace("{port}", host.rpartition(":")[2])
        play(lambda _: files({"path": "a.keras"}), f"mlflow-artifacts://{there}/1/model")(connection)

    error, asked = refusal(answer, tmp_path)
    assert asked == 1, error.sentence


@pytest.mark.parametrize("names", [True, False])
def test_artifacts_at_the_tracking_server_are_read(names: bool, tmp_path: Path) -> None:
    """Also where the location names it."""

    def answer(connection: Connection) -> None:
        host = next(each for each in connection.request.decode().splitlines() if each.lower().startswith("host:"))
        there = host.partition(":")[2].strip() if names else ""
        play(lambda _: files({"path": ".."}), f"mlflow-artifacts://{there}/1/model")(connection)

    error, asked = refusal(answer, tmp_path)
    assert (error.reason, asked) == (LoadReason.UNSAFE_MODEL, 2)
