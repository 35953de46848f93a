"""Stores whose listings and answers are hostile: refused with a reason, and nothing is written outside the model."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from tests.support import hostile_bucket, object_servers

from fairlead_runtime.errors import LoadError, LoadReason
from fairlead_runtime.model import source
from fairlead_runtime.model.bounds import Bounds
from fairlead_runtime.model.cache import Cache
from fairlead_runtime.model.fetching import store_process
from fairlead_runtime.model.fetching.access import Access

BOUNDS = Bounds(bytes_max=1_000_000, entries_max=50, idle_s=5, total_s=60)


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """The process for stores takes a moment to start, and is tested beside this."""
    monkeypatch.setattr(store_process, "download", object_servers.download_in_this_process)


@pytest.fixture
def store() -> Iterator[tuple[hostile_bucket.HostileBucket, str]]:
    with hostile_bucket.serving() as served:
        yield served


def refusal_of(url: str, tmp_path: Path, uri: str = "s3://models/m", access: Access | None = None) -> LoadError:
    kept = Cache(tmp_path / "cache", bytes_max=10**9)
    access = access or object_servers.access(url, tmp_path)
    with pytest.raises(LoadError) as raised:
        source.fetch(uri, None, kept, BOUNDS, access=access)
    assert not [path for path in (tmp_path / "cache").iterdir() if path.suffix != ".lock"]
    return raised.value


LISTED: dict[str, tuple[Iterable[tuple[str, int]], LoadReason]] = {
    "a parent": ([("m/../../out", 1)], LoadReason.UNSAFE_MODEL),
    "a parent alone": ([("m/..", 1)], LoadReason.UNSAFE_MODEL),
    "an empty segment": ([("m//out", 1)], LoadReason.UNSAFE_MODEL),
    "this folder": ([("m/./a", 1)], LoadReason.UNSAFE_MODEL),
    "a backslash": ([("m/..\\out", 1)], LoadReason.UNSAFE_MODEL),
    "a drive": ([("m/C:out", 1)], LoadReason.UNSAFE_MODEL),
    "a line break": ([("m/a\nb", 1)], LoadReason.UNSAFE_MODEL),
    "names that differ in case alone": ([("m/a", 1), ("m/A", 1)], LoadReason.UNSAFE_MODEL),
    "a name twice": ([("m/a", 1), ("m/a", 1)], LoadReason.UNSAFE_MODEL),
    "a file within a file": ([("m/a", 1), ("m/a/b", 1)], LoadReason.UNSAFE_MODEL),
    "a long name": ([("m/" + "n" * 300, 1)], LoadReason.UNSAFE_MODEL),
    "a deep name": ([("m/" + "/".join("d" * 40), 1)], LoadReason.UNSAFE_MODEL),
    "too many": ([(f"m/{i}", 1) for i in range(51)], LoadReason.MODEL_TOO_LARGE),
    "without an end": (((f"m/{i}", 1) for i in itertools.count()), LoadReason.MODEL_TOO_LARGE),
    "too many empty ones": ([(f"m/{i}", 0) for i in range(51)], LoadReason.MODEL_TOO_LARGE),
    "empty ones without an end": (((f"m/{i}", 0) for i in itertools.count()), LoadReason.MODEL_TOO_LARGE),
    "a large object": ([("m/a", 10**12)], LoadReason.MODEL_TOO_LARGE),
    "large objects together": ([("m/a", 600_000), ("m/b", 600_000)], LoadReason.MODEL_TOO_LARGE),
    "of another prefix": ([("other/a", 1)], LoadReason.UNSAFE_MODEL),
    "nothing": ([], LoadReason.MODEL_NOT_FOUND),
}


@pytest.mark.parametrize("what", LISTED)
def test_a_hostile_listing_is_refused_before_anything_is_written(
    store: tuple[hostile_bucket.HostileBucket, str], tmp_path: Path, what: str
) -> None:
    bucket, url = store
    bucket.listed, reason = LISTED[what]
    assert refusal_of(url, tmp_path).reason is reason
    assert not [asked for asked in bucket.asked if asked.startswith("GET") and "list-type" not in asked]


def test_no_model_is_removed_from_the_cache_for_an_object_that_is_too_large(
    store: tuple[hostile_bucket.HostileBucket, str], tmp_path: Path
) -> None:
    bucket, url = store
    bucket.head_bytes = BOUNDS.bytes_max + 1
    (tmp_path / "other").write_bytes(b"another model")
    kept = Cache(tmp_path / "cache", bytes_max=BOUNDS.bytes_max)
    source.fetch((tmp_path / "other").as_uri(), None, kept, BOUNDS).lease.close()
    with pytest.raises(LoadError) as raised:
        source.fetch("s3://models/m", None, kept, BOUNDS, access=object_servers.access(url, tmp_path))
    assert (raised.value.reason, kept.evicted) == (LoadReason.MODEL_TOO_LARGE, [])


def test_an_object_of_another_size_than_listed_is_refused(
    store: tuple[hostile_bucket.HostileBucket, str], tmp_path: Path
) -> None:
    bucket, url = store
    bucket.listed, bucket.body = [("m/a", 100_000)], b"short"
    assert refusal_of(url, tmp_path).reason is LoadReason.FETCH_FAILED
    bucket.listed, bucket.body = [("m/a", 5)], b"longer than listed"
    assert refusal_of(url, tmp_path).reason is LoadReason.FETCH_FAILED


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("http://169.254.169.254/latest", "reserved address"),
        ("http://10.0.0.1/m", "not a public address"),
        ("http://[::ffff:10.0.0.1]/m", "not a public address"),
    ],
)
def test_a_redirect_to_an_address_that_is_not_asked_is_refused_in_the_same_words(
    store: tuple[hostile_bucket.HostileBucket, str], tmp_path: Path, target: str, words: str
) -> None:
    bucket, url = store
    bucket.redirects_to = target
    refused = refusal_of(url, tmp_path)
    assert (refused.reason, words in refused.sentence) == (LoadReason.MODEL_FORBIDDEN, True), refused.sentence


def test_markers_of_folders_are_no_files(store: tuple[hostile_bucket.HostileBucket, str], tmp_path: Path) -> None:
    bucket, url = store
    bucket.listed = [("m/", 0), ("m/variables/", 0), ("m/variables/index", 1), ("m/saved_model.pb", 1)]
    kept = Cache(tmp_path / "cache", bytes_max=10**9)
    found = source.fetch("s3://models/m/", None, kept, BOUNDS, access=object_servers.access(url, tmp_path))
    assert sorted(path.relative_to(found.path).as_posix() for path in found.path.rglob("*")) == [
        "saved_model.pb",
        "variables",
        "variables/index",
    ]


def test_a_part_that_breaks_off_goes_on_where_it_was(
    store: tuple[hostile_bucket.HostileBucket, str], tmp_path: Path
) -> None:
    bucket, url = store
    bucket.body = bytes(range(256)) * 1000
    bucket.listed, bucket.breaks_after = [("m/a", len(bucket.body))], [100_000, 50_000]
    kept = Cache(tmp_path / "cache", bytes_max=10**9)
    found = source.fetch("s3://models/m/", None, kept, BOUNDS, access=object_servers.access(url, tmp_path))
    assert (found.path / "a").read_bytes() == bucket.body
    starts = [int(each.removeprefix("bytes=").split("-")[0]) for each in bucket.ranges]
    assert starts == sorted(starts)
    assert len(starts) == 3
    assert starts[1] > 0


def test_a_store_that_always_breaks_off_ends_in_a_refusal(
    store: tuple[hostile_bucket.HostileBucket, str], tmp_path: Path
) -> None:
    bucket, url = store
    bucket.body = b"x" * 100_000
    bucket.listed, bucket.breaks_after = [("m/a", 100_000)], [0] * 100
    assert refusal_of(url, tmp_path, "s3://models/m/").reason is LoadReason.FETCH_FAILED


@pytest.mark.parametrize(
    ("uri", "values"),
    [
        ("gs://models/m", {"service-account.json": '{"private_key": "secret words"}'}),
        ("gs://models/m", {"service-account.json": "secret words"}),
        ("az://models/m", {"AZURE_STORAGE_ACCOUNT_NAME": "a", "AZURE_STORAGE_ACCOUNT_KEY": "secret words"}),
    ],
)
def test_a_secret_of_the_wrong_form_is_refused_without_its_content(
    tmp_path: Path, uri: str, values: dict[str, str]
) -> None:
    object_servers.write_secret(tmp_path / "secrets", "odd", values)
    access = object_servers.access("http://127.0.0.1:1", tmp_path / "secrets", "odd")
    refused = refusal_of("", tmp_path, uri, access)
    assert refused.reason is LoadReason.MODEL_FORBIDDEN
    assert "secret words" not in str(refused)
    assert refused.sentence.startswith("spec.model.credentialsSecretName: ")
