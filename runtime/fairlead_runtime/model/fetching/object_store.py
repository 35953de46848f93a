"""Models in buckets: an object, or all objects below a prefix, from S3, Google Cloud Storage or Azure.

The library makes its own connections, so it is given a proxy that lets them go only where models may be read from. It
takes what memory an answer asks for, so this runs in a process of its own (`store_process`).
"""

from __future__ import annotations

import bisect
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

import obstore
from obstore import exceptions
from obstore.store import AzureStore, GCSStore, S3Store

from fairlead_runtime.errors import LoadError, LoadReason
from fairlead_runtime.model import http_fetch
from fairlead_runtime.model.bounds import Bounds
from fairlead_runtime.model.fetching import credentials, tree
from fairlead_runtime.model.fetching.access import Access
from fairlead_runtime.model.fetching.allowance import Allowance
from fairlead_runtime.model.fetching.guarded_proxy import GuardedProxy, guarding
from fairlead_runtime.model.fetching.purposes import MODELS
from fairlead_runtime.model.fetching.store_process import Choose, choose_all

if TYPE_CHECKING:  # Only in the library's type stubs.
    from obstore.store import ClientConfig, ObjectStore, RetryConfig

PART_BYTES = 16 * 1024 * 1024
CHUNK_BYTES = 1024 * 1024
ATTEMPTS = 5
NO_STORE = "what answers is not a store of this protocol"
BACKOFF_S = 0.2
# The library's own attempts, each with a pause; a part is tried again by us from where it broke off.
_RETRY: RetryConfig = {"max_retries": 2}
_LISTED_AT_ONCE = 1000
_CERTIFICATE = re.compile(r"InvalidCertificate\(\s*(\w+)")
_STATUS = re.compile(r"status code: (\d{3}[A-Za-z -]*)")
_CODE = re.compile(r"<Code>([A-Za-z0-9._-]{1,64})</Code>(?:<Message>([^<]{1,200})</Message>)?")
_BROKEN = (exceptions.BaseError, OSError)
_NO_VALUE = (ValueError, OverflowError)  # of Python, such as a date in the year -262143


Found = tree.Entry | tuple[tree.Entry, ...]


def download(
    uri: str,
    into: Path,
    allowance: Allowance,
    access: Access,
    *,
    expect: Callable[[int], None],
    choose: Choose = choose_all,
) -> None:
    """As `store_process.download`, in this process."""
    with guarding(access.outbound_with_secret(), allowance, has_credentials=access.secret is not None) as proxy:
        store = _store(uri, allowance.bounds, access, proxy)
        place = _Place(uri=uri, proxy=proxy, store=store, allowance=allowance)
        found = place.find(allowance.bounds)
        found = choose(found) if isinstance(found, tuple) else found
        expect(found.size_bytes or 0 if isinstance(found, tree.Entry) else tree.sum_sizes(found))
        if isinstance(found, tree.Entry):
            tree.download_one(found, into, allowance)
        else:
            tree.download(found, into, allowance)


def _store(uri: str, bounds: Bounds, access: Access, proxy: GuardedProxy) -> ObjectStore:
    parts = urlsplit(uri)
    if not parts.netloc:
        raise LoadError(LoadReason.MODEL_NOT_FOUND, f"spec.model.uri: {uri} names no bucket")
    client: ClientConfig = {
        "proxy_url": proxy.url,
        "allow_http": (access.endpoint or "").startswith("http://"),
        "connect_timeout": timedelta(seconds=bounds.idle_s),
        "read_timeout": timedelta(seconds=bounds.idle_s),
        "timeout": timedelta(seconds=bounds.total_s),
    }
    if access.ca_file is not None:
        http_fetch.trust(access.ca_file)  # Says what is wrong with the file.
        client["root_certificate"] = access.ca_file.read_bytes()
    make = {"s3": _s3, "gs": _gcs, "az": _azure}[parts.scheme]
    try:
        return make(parts.netloc, access.endpoint, access.read_secret(), client)
    except (exceptions.BaseError, ValueError):
        # Not in the library's words, which may have a part of the Secret in them.
        raise LoadError(
            LoadReason.MODEL_FORBIDDEN,
            f"{MODELS.named_by}: the Secret's values are not in the form that {parts.scheme}:// takes "
            "(docs/sources.md)",
        ) from None


def _s3(bucket: str, endpoint: str | None, secret: Mapping[str, str], client: ClientConfig) -> ObjectStore:
    names = {
        "AWS_ACCESS_KEY_ID": "access_key_id",
        "AWS_SECRET_ACCESS_KEY": "secret_access_key",
        "AWS_SESSION_TOKEN": "session_token",
        "AWS_REGION": "region",
    }
    config: dict[str, str | bool] = {ours: secret[key] for key, ours in names.items() if secret.get(key)}
    if secret.keys() - {"AWS_REGION"}:
        credentials.require(secret, ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), "an s3:// source")
    else:
        config["skip_signature"] = True
    if endpoint is not None:
        config["endpoint"] = endpoint.rstrip("/")
    return S3Store(bucket, config=config, client_options=client, retry_config=_RETRY)  # type: ignore[arg-type]


def _gcs(bucket: str, endpoint: str | None, secret: Mapping[str, str], client: ClientConfig) -> ObjectStore:
    config: dict[str, str | bool] = {"skip_signature": True}
    if secret:
        credentials.require(secret, ("service-account.json",), "a gs:// source")
        config = {"service_account_key": secret["service-account.json"]}
    if endpoint is not None:
        config["base_url"] = endpoint.rstrip("/")
    return GCSStore(bucket, config=config, client_options=client, retry_config=_RETRY)  # type: ignore[arg-type]


def _azure(container: str, endpoint: str | None, secret: Mapping[str, str], client: ClientConfig) -> ObjectStore:
    names = {
        "AZURE_STORAGE_ACCOUNT_NAME": "account_name",
        "AZURE_STORAGE_ACCOUNT_KEY": "account_key",
        "AZURE_STORAGE_SAS_TOKEN": "sas_key",
        "AZURE_CLIENT_ID": "client_id",
        "AZURE_CLIENT_SECRET": "client_secret",
        "AZURE_TENANT_ID": "tenant_id",
    }
    credentials.require(secret, ("AZURE_STORAGE_ACCOUNT_NAME",), "an az:// source")
    config: dict[str, str | bool] = {ours: secret[key] for key, ours in names.items() if secret.get(key)}
    if config.keys() == {"account_name"}:
        config["skip_signature"] = True
    if endpoint is not None:
        config["endpoint"] = endpoint.rstrip("/")
    return AzureStore(container, config=config, client_options=client, retry_config=_RETRY)  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """A bucket and what of it is meant."""

    uri: str
    proxy: GuardedProxy
    store: ObjectStore
    allowance: Allowance

    def find(self, bounds: Bounds) -> Found:
        """The object of that name, or else the objects below it; raises LoadError."""
        raw = unquote(urlsplit(self.uri).path)
        key = raw.strip("/")
        refused: Exception | None = None
        if key and not raw.endswith("/"):
            try:
                (found,) = tree.check([self._entry(obstore.head(self.store, key), key.rpartition("/")[2])], bounds)
                return found
            except (exceptions.PermissionDeniedError, exceptions.UnauthenticatedError, FileNotFoundError) as error:
                # Who may read what is below a prefix needs no right to ask for an object of the prefix' own name.
                refused = error
            except _BROKEN as error:
                raise self.explain(error) from None
            except _NO_VALUE:
                raise self._no_store() from None
        try:
            listed = tree.check(_without_markers(self._list(key), bounds), bounds)
        except _BROKEN as error:
            raise self.explain(error) from None
        except _NO_VALUE:
            raise self._no_store() from None
        if not listed:
            raise self.explain(refused or FileNotFoundError())
        return listed

    def _list(self, key: str) -> Iterator[tree.Entry]:
        start = f"{key}/" if key else ""
        for batch in obstore.list(self.store, start or None, chunk_size=_LISTED_AT_ONCE):
            self.allowance.check()
            for meta in batch:
                if meta["path"] == key and not meta["size"]:
                    continue  # The empty object by which consoles show the folder itself.
                if not meta["path"].startswith(start):
                    raise LoadError(
                        LoadReason.UNSAFE_MODEL,
                        f"{self.uri}: the store lists {meta['path'][:100]!r}, which isn't below it",
                    )
                yield self._entry(meta, meta["path"].removeprefix(start))

    def _entry(self, meta: obstore.ObjectMeta, name: str) -> tree.Entry:
        def tasks(target: Path, transfer: tree.Transfer) -> Iterator[tree.Task]:
            for start in range(0, meta["size"], PART_BYTES):
                end = min(start + PART_BYTES, meta["size"])
                yield _Part(place=self, meta=meta, target=target, start=start, end=end, transfer=transfer)

        return tree.Entry(name=name, size_bytes=meta["size"], tasks=tasks)

    def _no_store(self) -> LoadError:
        return LoadError(LoadReason.FETCH_FAILED, f"{self.uri} could not be read: {NO_STORE}")

    def explain(self, error: Exception) -> LoadError:
        """Our words for what the library says; where the proxy ended or refused a connection, the proxy's."""
        try:
            self.allowance.check()
        except LoadError as ended:
            return ended
        if self.proxy.refusal is not None:
            return self.proxy.refusal
        if isinstance(error, FileNotFoundError):
            below = self.uri.rstrip("/")
            return LoadError(LoadReason.MODEL_NOT_FOUND, f"there is no object {self.uri}, and none below {below}/")
        text = str(error)
        is_refused = isinstance(error, exceptions.PermissionDeniedError | exceptions.UnauthenticatedError)
        if is_refused or "status code: 403" in text or "status code: 401" in text:
            return LoadError(
                LoadReason.MODEL_FORBIDDEN,
                f"{self.uri}: access denied ({_words(error)}). Check the Secret in {MODELS.named_by}; if it is "
                "unset, the request has no credentials",
            )
        if "status code: 404" in text:
            return LoadError(LoadReason.MODEL_NOT_FOUND, f"{self.uri}: {_words(error)}")
        if isinstance(error, exceptions.PreconditionError):
            return LoadError(LoadReason.FETCH_FAILED, f"{self.uri} was changed while it was read")
        if isinstance(error, exceptions.InvalidPathError) or "path segment" in text:
            return LoadError(
                LoadReason.UNSAFE_MODEL, f"{self.uri}: the store lists an object whose name is no plain path"
            )
        return LoadError(LoadReason.FETCH_FAILED, f"{self.uri} could not be read: {_words(error)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """A range of an object, which goes on from where it broke off."""

    place: _Place
    meta: obstore.ObjectMeta
    target: Path
    start: int
    end: int
    transfer: tree.Transfer

    def __call__(self) -> None:
        at = self.start
        with self.target.open("r+b", buffering=0) as file:
            for attempt in range(ATTEMPTS):
                if attempt:
                    self.transfer.pause(BACKOFF_S * 2**attempt)
                stream = self._read(at)
                try:
                    while (chunk := next(stream, None)) is not None:
                        self.transfer.count(len(chunk))
                        # Not within the range of errors that are the store's: a full disk is not.
                        at = _write(file.fileno(), chunk, at)
                except _StoreError as error:
                    last: Exception = error.found
                    self.place.allowance.check()
                    if self.place.proxy.refusal is not None or isinstance(last, exceptions.PreconditionError):
                        raise self.place.explain(last) from None
                else:
                    if at == self.end:
                        return
                    last = _Missing(f"{self.end - at} bytes of {self.meta['path']} are missing")
        raise self.place.explain(last)

    def _read(self, at: int) -> Iterator[bytes]:
        options: obstore.GetOptions = {"range": (at, self.end)}
        tag = http_fetch.strong_tag(self.meta["e_tag"])
        if tag is not None:  # Listings of some stores have tags without their quotes.
            options["if_match"] = tag if tag.startswith('"') else f'"{tag}"'
        try:
            result = obstore.get(self.place.store, self.meta["path"], options=options)
            for chunk in result.stream(min_chunk_size=CHUNK_BYTES):
                yield bytes(chunk)
        except _BROKEN as error:
            raise _StoreError(error) from None


class _StoreError(Exception):
    """What the library raised, apart from what our own disk raises."""

    def __init__(self, found: Exception) -> None:
        self.found = found
        super().__init__(found)


class _Missing(Exception):
    """An answer ended before its part did."""


def _write(handle: int, chunk: bytes, at: int) -> int:
    view = memoryview(chunk)
    while view:
        written = os.pwrite(handle, view, at)
        view, at = view[written:], at + written
    return at


def _without_markers(entries: Iterator[tree.Entry], bounds: Bounds) -> Iterator[tree.Entry]:
    """Without the empty objects by which consoles show a folder: they have the name of what lies below them."""
    empty: list[tree.Entry] = []
    names: list[str] = []
    for entry in entries:
        tree.check_name(entry.name)
        names.append(entry.name)
        if entry.size_bytes:
            yield entry
            continue
        if len(empty) == bounds.entries_max:
            raise LoadError(LoadReason.MODEL_TOO_LARGE, f"the model has more than {bounds.entries_max} empty files")
        empty.append(entry)
    names.sort()
    yield from (entry for entry in empty if not _is_folder(entry.name, names))


def _is_folder(name: str, names: list[str]) -> bool:
    """Whether one of the sorted names lies below it."""
    start = f"{name}/"
    at = bisect.bisect_left(names, start)
    return at < len(names) and names[at].startswith(start)


def _words(error: Exception) -> str:
    """What of the library's message says something to a person; never what a server answered that is no store."""
    text = str(error)
    if (certificate := _CERTIFICATE.search(text)) is not None:
        return f"the server's certificate is not trusted ({certificate[1]}); FAIRLEAD_CA_FILE can name its authority"
    if (status := _STATUS.search(text)) is not None:
        code = _CODE.search(text)
        more = f": {code[1]}{f', {code[2]}' if code[2] else ''}" if code else ""
        return f"{status[1].strip()}{more}"
    if "invalid list response" in text:
        return NO_STORE
    if "non-partial response" in text:
        return "the store does not keep to byte ranges"
    return text if isinstance(error, _Missing) else "no connection, or it broke off"
