"""Fetching: what is read, what is refused, what is kept."""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.support.model_server import CONTENT, Web, serving

from fairlead_runtime.errors import LoadError, LoadReason, one_sentence
from fairlead_runtime.model import archive, digest, source
from fairlead_runtime.model.bounds import Bounds
from fairlead_runtime.model.cache import Cache
from fairlead_runtime.model.fetching.access import Access, parse_schemes
from fairlead_runtime.model.fetching.outbound import Outbound, parse_networks

LOOPBACK = Access(outbound=Outbound(networks=parse_networks("127.0.0.0/8")))
BOUNDS = Bounds(bytes_max=1_000_000, entries_max=50, ratio_free_bytes=100_000, idle_s=2, total_s=20)


def sha(raw: bytes) -> str:
    return "sha256:" + hashlib.sha256(raw).hexdigest()


def cached(tmp_path: Path, name: str) -> Cache:
    return Cache(tmp_path / name, bytes_max=1_000_000_000)


def reason_of(call: Callable[[], object]) -> LoadReason:
    with pytest.raises(LoadError) as error:
        call()
    return error.value.reason


@pytest.fixture
def web() -> Iterator[Web]:
    with serving() as served:
        yield served


def make_folder(root: Path) -> Path:
    (root / "variables").mkdir(parents=True)
    (root / "saved_model.pb").write_bytes(b"graph")
    (root / "variables" / "data").write_bytes(b"numbers")
    return root


def test_a_folders_digest_is_the_hash_of_its_sorted_list(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "m")
    lines = [
        f"{hashlib.sha256(b'graph').hexdigest()}  saved_model.pb\n",
        f"{hashlib.sha256(b'numbers').hexdigest()}  variables/data\n",
    ]
    assert digest.hash_path(folder) == sha("".join(lines).encode())


def test_a_folder_is_copied_verified_and_found_again_without_its_source(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "m")
    uri = folder.as_uri()
    first = source.fetch(uri, None, cached(tmp_path, "cache"), BOUNDS)
    assert first.digest == digest.hash_path(folder)
    assert (first.path / "variables" / "data").read_bytes() == b"numbers"
    (folder / "saved_model.pb").write_bytes(b"changed")
    assert source.fetch(uri, first.digest, cached(tmp_path, "cache"), BOUNDS) == first


def test_changed_content_is_refused_when_a_digest_is_pinned(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "m")
    pinned = digest.hash_path(folder)
    (folder / "saved_model.pb").write_bytes(b"changed")
    fetch = lambda: source.fetch(folder.as_uri(), pinned, cached(tmp_path, "cache"), BOUNDS)  # noqa: E731 - a call for later
    assert reason_of(fetch) is LoadReason.DIGEST_MISMATCH
    assert not list((tmp_path / "cache").glob("sha256-*"))


def test_a_damaged_cache_entry_is_fetched_again(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "m")
    first = source.fetch(folder.as_uri(), None, cached(tmp_path, "cache"), BOUNDS)
    (first.path / "saved_model.pb").write_bytes(b"rotten")
    second = source.fetch(folder.as_uri(), first.digest, cached(tmp_path, "cache"), BOUNDS)
    assert (second.path / "saved_model.pb").read_bytes() == b"graph"


def test_a_fetch_removes_leftovers_of_killed_fetches_and_its_own_temporary_files(tmp_path: Path) -> None:
    left = tmp_path / "cache" / "tmp-old"
    left.mkdir(parents=True)
    source.fetch(make_folder(tmp_path / "m").as_uri(), None, cached(tmp_path, "cache"), BOUNDS)
    assert not list((tmp_path / "cache").glob("tmp-*"))


@pytest.mark.parametrize(
    ("uri", "reason"),
    [
        ("file:///nowhere/at/all", LoadReason.MODEL_NOT_FOUND),
        ("file:///dev/zero", LoadReason.MODEL_FORBIDDEN),
        ("ftp://host/model", LoadReason.MODEL_NOT_FOUND),
        ("http://169.254.169.254/latest/meta-data", LoadReason.MODEL_FORBIDDEN),
        ("http://[::ffff:169.254.169.254]/x", LoadReason.MODEL_FORBIDDEN),
        ("http://0.0.0.0/x", LoadReason.MODEL_FORBIDDEN),
        ("http:///x", LoadReason.MODEL_NOT_FOUND),
        ("http://host:99999/x", LoadReason.MODEL_NOT_FOUND),
    ],
)
def test_unsupported_addresses_are_refused_with_a_reason(tmp_path: Path, uri: str, reason: LoadReason) -> None:
    assert reason_of(lambda: source.fetch(uri, None, cached(tmp_path, "cache"), BOUNDS)) is reason


@pytest.mark.parametrize("is_cached", [False, True])
def test_a_scheme_that_the_platform_does_not_allow_is_refused_also_for_content_in_the_cache(
    tmp_path: Path, is_cached: bool
) -> None:
    folder, kept = make_folder(tmp_path / "m"), cached(tmp_path, "cache")
    pinned = source.fetch(folder.as_uri(), None, kept, BOUNDS).digest if is_cached else None
    access = Access(schemes=parse_schemes("https, s3", source.SCHEMES))
    with pytest.raises(LoadError) as refused:
        source.fetch(folder.as_uri(), pinned, kept, BOUNDS, access=access)
    assert refused.value.reason is LoadReason.MODEL_FORBIDDEN
    assert "models are not read by file: allowed are https, s3 (spec.sources.allowedSchemes" in refused.value.sentence
    listed = Access(schemes=parse_schemes("file", source.SCHEMES))
    assert source.fetch(folder.as_uri(), pinned, kept, BOUNDS, access=listed).digest == digest.hash_path(folder)


def test_an_unknown_scheme_in_the_nodes_setting_is_refused_by_its_name() -> None:
    with pytest.raises(LoadError, match="'ftp' must be one of file, http") as found:
        parse_schemes("https,ftp", source.SCHEMES)
    assert found.value.sentence.startswith("FAIRLEAD_SOURCE_SCHEMES of the Ray node")
    assert found.value.reason is LoadReason.NODE_MISCONFIGURED


def test_links_in_a_folder_are_refused(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "m")
    (folder / "passwords").symlink_to("/etc/passwd")
    fetch = lambda: source.fetch(folder.as_uri(), None, cached(tmp_path, "cache"), BOUNDS)  # noqa: E731 - a call for later
    assert reason_of(fetch) is LoadReason.UNSAFE_MODEL


def test_a_too_large_folder_is_refused_and_leaves_no_files(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "m")
    (folder / "big").write_bytes(bytes(1_000_001))
    fetch = lambda: source.fetch(folder.as_uri(), None, cached(tmp_path, "cache"), BOUNDS)  # noqa: E731 - a call for later
    assert reason_of(fetch) is LoadReason.MODEL_TOO_LARGE
    assert not [path for path in (tmp_path / "cache").iterdir() if path.suffix != ".lock"]


def test_an_interrupted_download_is_resumed_at_its_position(web: Web, tmp_path: Path) -> None:
    web.steps = [503, 1000, 2000, 5000]
    fetched = source.fetch(web.url, sha(CONTENT), cached(tmp_path, "cache"), BOUNDS, access=LOOPBACK)
    assert fetched.path.read_bytes() == CONTENT
    assert web.ranges == [None, None, "bytes=1000-", "bytes=3000-"]


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (401, LoadReason.MODEL_FORBIDDEN),
        (403, LoadReason.MODEL_FORBIDDEN),
        (404, LoadReason.MODEL_NOT_FOUND),
        (410, LoadReason.MODEL_NOT_FOUND),
        (418, LoadReason.FETCH_FAILED),
    ],
)
def test_a_permanent_error_is_not_retried(web: Web, tmp_path: Path, status: int, reason: LoadReason) -> None:
    web.steps = [status] * 3
    assert reason_of(lambda: source.fetch(web.url, None, cached(tmp_path, "cache"), BOUNDS, access=LOOPBACK)) is reason
    assert len(web.ranges) == 1


def test_a_too_large_body_is_refused_before_it_is_read(web: Web, tmp_path: Path) -> None:
    small = Bounds(bytes_max=1000)
    assert (
        reason_of(lambda: source.fetch(web.url, None, cached(tmp_path, "cache"), small, access=LOOPBACK))
        is LoadReason.MODEL_TOO_LARGE
    )


def test_at_most_three_redirects_are_followed_and_none_to_a_file(web: Web, tmp_path: Path) -> None:
    web.steps = ["/a", "/b", "/c"]
    assert source.fetch(web.url, None, cached(tmp_path, "cache"), BOUNDS, access=LOOPBACK).path.read_bytes() == CONTENT
    for steps in (
        ["/a"] * 9,
        ["file:///etc/passwd"],
        ["http://169.254.169.254/"],
        ["http://10.0.0.1/"],
        ["http://[::1]:1/"],
    ):
        web.steps = list(steps)
        refused = reason_of(lambda: source.fetch(web.url, None, cached(tmp_path, "other"), BOUNDS, access=LOOPBACK))
        assert refused in (LoadReason.FETCH_FAILED, LoadReason.MODEL_FORBIDDEN)


@pytest.mark.parametrize(
    ("path", "sent"),
    [
        ("/modèle.keras", "/mod%C3%A8le.keras"),
        ("/a model/1", "/a%20model/1"),
        ("/a%20model/%C3%A8?v=1&x=ü#part", "/a%20model/%C3%A8?v=1&x=%C3%BC"),
        ('/"<>^`{|}', "/%22%3C%3E%5E%60%7B%7C%7D"),
        ("/100%", "/100%"),
    ],
)
def test_special_characters_of_a_url_are_encoded(web: Web, tmp_path: Path, path: str, sent: str) -> None:
    base = web.url.rpartition("/")[0]
    assert (
        source.fetch(base + path, None, cached(tmp_path, "cache"), BOUNDS, access=LOOPBACK).path.read_bytes() == CONTENT
    )
    assert web.targets == [sent]


def test_a_redirect_to_a_url_with_special_characters_is_followed(web: Web, tmp_path: Path) -> None:
    web.steps = ["/modèle v2".encode().decode("latin-1")]
    assert source.fetch(web.url, None, cached(tmp_path, "cache"), BOUNDS, access=LOOPBACK).path.read_bytes() == CONTENT
    assert web.targets[1:] == ["/mod%C3%A8le%20v2"]


@pytest.mark.parametrize(
    "uri", ["file:///a%00b", "http://" + "a" * 300 + "/m", "http://a..b/m", "http://a:99999/m", "http://[::1/m"]
)
def test_an_invalid_address_is_refused_with_a_reason(tmp_path: Path, uri: str) -> None:
    refused = reason_of(lambda: source.fetch(uri, None, cached(tmp_path, "cache"), BOUNDS))
    assert refused is LoadReason.MODEL_NOT_FOUND


def test_an_international_host_name_is_looked_up_in_its_ascii_form(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def lookup(host: str, *_: object, **__: object) -> list[object]:
        asked.append(host)
        raise OSError("no such name")

    monkeypatch.setattr("socket.getaddrinfo", lookup)
    quick = Bounds(bytes_max=1000, total_s=0.5)
    fetch = lambda: source.fetch("http://bücher.example/m", None, cached(tmp_path, "cache"), quick)  # noqa: E731 - a call for later
    assert reason_of(fetch) is LoadReason.FETCH_FAILED
    assert set(asked) == {"xn--bcher-kva.example"}


def test_error_messages_contain_no_credentials() -> None:
    text = one_sentence("can't read https://me:secret@host:8443/a/b?token=secret#secret\nat all")
    assert text == "can't read https://host:8443/a/b at all"
    assert len(one_sentence("x" * 5000)) == 400


def tar_of(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w:gz") as made:
        for info, content in members:
            info.size = len(content)
            made.addfile(info, io.BytesIO(content))
    return raw.getvalue()


def entry(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


def zip_of(*members: tuple[str, bytes], mode: int = 0) -> bytes:
    raw = io.BytesIO()
    with zipfile.ZipFile(raw, "w", zipfile.ZIP_DEFLATED) as made:
        for name, content in members:
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            made.writestr(info, content)
    return raw.getvalue()


HOSTILE = {
    "tar, parent": tar_of((entry("../out"), b"x")),
    "tar, parent inside": tar_of((entry("a/../../out"), b"x")),
    "tar, absolute": tar_of((entry("/tmp/fairlead-out"), b"x")),
    "tar, symbolic link": tar_of((entry("a", tarfile.SYMTYPE, "/etc/passwd"), b"")),
    "tar, hard link": tar_of((entry("a", tarfile.LNKTYPE, "/etc/passwd"), b"")),
    "tar, device": tar_of((entry("a", tarfile.CHRTYPE), b"")),
    "tar, pipe": tar_of((entry("a", tarfile.FIFOTYPE), b"")),
    "tar, twice": tar_of((entry("a"), b"1"), (entry("a"), b"2")),
    "tar, differs in case": tar_of((entry("a"), b"1"), (entry("A"), b"2")),
    "tar, file then folder": tar_of((entry("a"), b"1"), (entry("a/b"), b"2")),
    "tar, too many": tar_of(*((entry(f"f{i}"), b"") for i in range(60))),
    "tar, bomb": tar_of((entry("a"), bytes(900_000))),
    "tar, cut off": tar_of((entry("a"), os.urandom(5000)))[:2000],
    "tar, backslash": tar_of((entry("..\\out"), b"x")),
    "tar, deep": tar_of((entry("/".join("a" * 40)), b"x")),
    "zip, parent": zip_of(("../out", b"x")),
    "zip, absolute": zip_of(("/tmp/fairlead-out", b"x")),
    "zip, link": zip_of(("a", b"/etc/passwd"), mode=0o120777),
    "zip, twice": zip_of(("a", b"1"), ("./a", b"2")),
    "zip, bomb": zip_of(("a", bytes(900_000))),
    "zip, drive": zip_of(("C:\\out", b"x")),
    "zip, cut off": zip_of(("a", os.urandom(5000)))[:2000],
}


@pytest.mark.parametrize("raw", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_archive_is_refused_and_leaves_no_files(tmp_path: Path, raw: bytes) -> None:
    given = tmp_path / "m.tar.gz"
    given.write_bytes(raw)
    before = sorted(path.name for path in tmp_path.iterdir())
    cut_off = raw in (HOSTILE["zip, cut off"],)
    if cut_off:
        assert reason_of(lambda: archive.extract(given, tmp_path / "out", BOUNDS)) is LoadReason.MODEL_CORRUPT
        return
    refused = reason_of(lambda: source.fetch(given.as_uri(), None, cached(tmp_path, "cache"), BOUNDS))
    assert refused in (LoadReason.UNSAFE_MODEL, LoadReason.MODEL_TOO_LARGE, LoadReason.MODEL_CORRUPT)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*before, "cache"])
    assert not [path for path in (tmp_path / "cache").iterdir() if path.suffix != ".lock"]
    assert not Path("/tmp/fairlead-out").exists()


@pytest.mark.parametrize("packed", [tar_of((entry("m/saved_model.pb"), b"g")), zip_of(("m/saved_model.pb", b"g"))])
def test_a_valid_archive_is_unpacked_and_identified_by_its_own_digest(tmp_path: Path, packed: bytes) -> None:
    given = tmp_path / "m.bin"
    given.write_bytes(packed)
    fetched = source.fetch(given.as_uri(), sha(packed), cached(tmp_path, "cache"), BOUNDS)
    assert (fetched.path / "m" / "saved_model.pb").read_bytes() == b"g"
