"""Models from object stores: real servers on loopback, with the credentials and the rules that a Ray node has."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import obstore
import pytest
from tests.support import object_servers

from fairlead_runtime.errors import LoadError, LoadReason
from fairlead_runtime.model import digest, source
from fairlead_runtime.model.bounds import Bounds
from fairlead_runtime.model.cache import Cache, Fetched
from fairlead_runtime.model.fetching import object_store
from fairlead_runtime.model.fetching.access import Access
from fairlead_runtime.model.fetching.outbound import Outbound

pytestmark = pytest.mark.real

BOUNDS = Bounds(bytes_max=200_000_000, entries_max=50, idle_s=10, total_s=120)
BIG = os.urandom(object_store.PART_BYTES * 2 + 12345)
FILES = {
    "digits/1/saved_model.pb": b"graph",
    "digits/1/variables/variables.data-00000-of-00001": BIG,
    "digits/1/variables/variables.index": b"index",
    "digits/1/assets/empty": b"",
    "digits/10/saved_model.pb": b"another version",
    "digits-other/saved_model.pb": b"a name that begins alike",
    "one.keras": b"a file",
}


def tree_digest(prefix: str) -> str:
    own = {name.removeprefix(prefix): raw for name, raw in FILES.items() if name.startswith(prefix)}
    return digest.combine_hashes({name: hashlib.sha256(raw).hexdigest() for name, raw in own.items()})


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("s3")
    with object_servers.s3_server(folder / "server") as url:
        store = object_servers.s3_store(url)
        for name, content in FILES.items():
            obstore.put(store, name, content)
        yield url


@pytest.fixture(scope="module")
def gcs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with object_servers.gcs_server(tmp_path_factory.mktemp("gcs") / "server") as url:
        object_servers.put_gcs(url, FILES)
        yield url


@pytest.fixture
def secrets(tmp_path: Path) -> Path:
    folder = tmp_path / "secrets"
    object_servers.write_secret(folder, "reader", object_servers.S3_SECRET)
    object_servers.write_secret(folder, "wrong", {**object_servers.S3_SECRET, "AWS_SECRET_ACCESS_KEY": "wrong"})
    object_servers.write_secret(folder, "half", {"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE"})
    return folder


def fetch(uri: str, access: Access, tmp_path: Path, pinned: str | None = None, *, bounds: Bounds = BOUNDS) -> Fetched:
    return source.fetch(uri, pinned, Cache(tmp_path / "cache", bytes_max=10**10), bounds, access=access)


def refusal_of(call: Callable[[], object]) -> LoadError:
    with pytest.raises(LoadError) as raised:
        call()
    return raised.value


def test_a_prefix_is_a_folder_with_its_version_folders_and_nothing_else(s3: str, secrets: Path, tmp_path: Path) -> None:
    access = object_servers.access(s3, secrets, "reader")
    one = fetch("s3://models/digits/1", access, tmp_path)
    assert one.digest == tree_digest("digits/1/")
    assert (one.path / "variables/variables.data-00000-of-00001").read_bytes() == BIG
    every = fetch("s3://models/digits/", access, tmp_path)
    assert every.digest == tree_digest("digits/")
    assert sorted(path.name for path in every.path.iterdir()) == ["1", "10"]


def test_one_object_is_a_file(s3: str, secrets: Path, tmp_path: Path) -> None:
    found = fetch("s3://models/one.keras", object_servers.access(s3, secrets, "reader"), tmp_path)
    assert found.path.read_bytes() == b"a file"
    assert found.digest == f"sha256:{hashlib.sha256(b'a file').hexdigest()}"


def test_a_pinned_model_in_the_cache_needs_neither_store_nor_secret(s3: str, secrets: Path, tmp_path: Path) -> None:
    pinned = fetch("s3://models/digits/1", object_servers.access(s3, secrets, "reader"), tmp_path).digest
    gone = object_servers.access("http://127.0.0.1:1", tmp_path / "no secrets", "reader")
    assert fetch("s3://models/digits/1", gone, tmp_path, pinned).digest == pinned


def test_other_content_than_the_pinned_one_is_refused(s3: str, secrets: Path, tmp_path: Path) -> None:
    access = object_servers.access(s3, secrets, "reader")
    refused = refusal_of(lambda: fetch("s3://models/digits/1", access, tmp_path, f"sha256:{'0' * 64}"))
    assert refused.reason is LoadReason.DIGEST_MISMATCH


@pytest.mark.parametrize(
    ("uri", "secret", "reason", "words"),
    [
        ("s3://models/absent", "reader", LoadReason.MODEL_NOT_FOUND, "there is no object s3://models/absent"),
        ("s3://nowhere/digits", "reader", LoadReason.MODEL_NOT_FOUND, "s3://nowhere/digits"),
        ("s3://models/digits/1", "wrong", LoadReason.MODEL_FORBIDDEN, "SignatureDoesNotMatch"),
        (
            "s3://models/digits/1",
            None,
            LoadReason.MODEL_FORBIDDEN,
            "Check the Secret in spec.model.credentialsSecretName",
        ),
        ("s3://models/digits/1", "half", LoadReason.MODEL_FORBIDDEN, "no key AWS_SECRET_ACCESS_KEY"),
        ("s3://models/digits/1", "missing", LoadReason.MODEL_FORBIDDEN, "spec.sources.credentials"),
        ("s3://models/digits/1", "../secrets/reader", LoadReason.MODEL_FORBIDDEN, "has no Secret"),
    ],
)
def test_what_is_wrong_is_said_with_the_field_that_would_change_it(
    s3: str, secrets: Path, tmp_path: Path, uri: str, secret: str | None, reason: LoadReason, words: str
) -> None:
    refused = refusal_of(lambda: fetch(uri, object_servers.access(s3, secrets, secret), tmp_path))
    assert (refused.reason, words in refused.sentence) == (reason, True), refused.sentence
    assert "a key that only tests use" not in str(refused)


def test_a_model_over_the_bounds_is_refused_before_it_is_read(s3: str, secrets: Path, tmp_path: Path) -> None:
    access = object_servers.access(s3, secrets, "reader")
    for bounds in (Bounds(bytes_max=1000), Bounds(bytes_max=10**9, entries_max=2)):
        refused = refusal_of(lambda: fetch("s3://models/digits/1", access, tmp_path, bounds=bounds))  # noqa: B023
        assert refused.reason is LoadReason.MODEL_TOO_LARGE


def test_a_store_at_an_address_that_the_platform_does_not_allow_is_not_asked(
    s3: str, secrets: Path, tmp_path: Path
) -> None:
    closed = Access(endpoint=s3, secret="reader", secrets_dir=secrets, secret_hosts=object_servers.EVERY_SECRET)
    refused = refusal_of(lambda: fetch("s3://models/one.keras", closed, tmp_path))
    assert refused.reason is LoadReason.MODEL_FORBIDDEN
    assert "127.0.0.1 is not a public address" in refused.sentence
    other = Outbound(hosts=("models.example.org",), networks=object_servers.LOOPBACK.networks)
    listed = Access(
        endpoint=s3, secret="reader", secrets_dir=secrets, secret_hosts=object_servers.EVERY_SECRET, outbound=other
    )
    assert "spec.sources.allowedHosts" in refusal_of(lambda: fetch("s3://models/one.keras", listed, tmp_path)).sentence


def test_a_public_bucket_of_google_cloud_storage_is_read_without_credentials(
    gcs: str, secrets: Path, tmp_path: Path
) -> None:
    access = object_servers.access(gcs, secrets)
    assert fetch("gs://models/digits/1", access, tmp_path).digest == tree_digest("digits/1/")
    assert fetch("gs://models/one.keras", access, tmp_path).path.read_bytes() == b"a file"
    refused = refusal_of(lambda: fetch("gs://models/absent", access, tmp_path))
    assert refused.reason is LoadReason.MODEL_NOT_FOUND
