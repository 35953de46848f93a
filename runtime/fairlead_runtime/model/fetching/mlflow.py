"""Models of an MLflow registry, by its REST API: a version, an alias or a stage, and the model among its artifacts.

Source: MLflow's REST API; artifacts of a server that serves them itself, or in a bucket.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote, unquote, urlencode, urlsplit

from fairlead_runtime.errors import LoadError, LoadReason
from fairlead_runtime.model import http_fetch
from fairlead_runtime.model.cache import Cache
from fairlead_runtime.model.fetching import store_process, tree, web_files
from fairlead_runtime.model.fetching.access import Access
from fairlead_runtime.model.fetching.allowance import Allowance

_URI = re.compile("models:/([^/@?#]+)(?:/([A-Za-z0-9._-]+)|@([A-Za-z0-9._-]+))")
_BUCKETS = ("s3", "gs")
_NUMBER = re.compile("[0-9]{1,18}")
FOLDERS_MAX = 1000
"""Each is a request to the server."""
LOCATION_CHARS_MAX = 2048


def download(uri: str, into: Path, allowance: Allowance, access: Access, cache: Cache) -> None:
    """Writes the model's one `.keras` file as the new file `into`, or its SavedModel into a new folder."""
    parts = _URI.fullmatch(uri)
    if parts is None:
        raise LoadError(
            LoadReason.MODEL_NOT_FOUND,
            f"spec.model.uri: {uri} must look like models:/NAME/VERSION or models:/NAME@ALIAS",
        )
    secret = access.read_secret()
    # A Secret may be for the artifacts' bucket alone.
    is_for_server = bool(secret.keys() & {"token", "username", "password"})
    server = _Server(
        uri=uri,
        base=web_files.require_endpoint(access, "the tracking server"),
        access=access if is_for_server else dataclasses.replace(access, secret=None),
        allowance=allowance,
        scratch=into.with_name("listing"),
    )
    location = server.find(unquote(parts[1]), parts[2], parts[3])
    scheme = urlsplit(location).scheme
    if scheme in _BUCKETS:
        bucket = dataclasses.replace(access, endpoint=secret.get("AWS_ENDPOINT_URL") if scheme == "s3" else None)
        store_process.download(f"{location.rstrip('/')}/", into, allowance, bucket, cache, choose=_choose)
        return
    if scheme != "mlflow-artifacts":
        raise LoadError(
            LoadReason.MODEL_NOT_FOUND,
            f"{uri}: its artifacts are at {location[:100]}, which is not read; a tracking server that serves artifacts "
            "(mlflow server --serve-artifacts), s3:// and gs:// are",
        )
    if not _is_at(location, server.base):
        raise LoadError(
            LoadReason.MODEL_NOT_FOUND,
            f"{uri}: its artifacts are at another server than spec.model.endpoint, which is not read",
        )
    found = _choose(tree.check(server.list(urlsplit(location).path.strip("/")), allowance.bounds))
    cache.make_room(found.size_bytes or 0 if isinstance(found, tree.Entry) else tree.sum_sizes(found))
    if isinstance(found, tree.Entry):
        tree.download_one(found, into, allowance)
    else:
        tree.download(found, into, allowance)


def _choose(entries: tuple[tree.Entry, ...]) -> tree.Entry | tuple[tree.Entry, ...]:
    """Of all that MLflow keeps with a model, the one `.keras` file, or the one folder that has a SavedModel."""
    files = [each for each in entries if each.name.endswith(".keras")]
    if len(files) == 1:
        return files[0]
    graphs = [each for each in entries if PurePosixPath(each.name).name == "saved_model.pb"]
    if files or len(graphs) != 1:
        raise LoadError(
            LoadReason.FORMAT_MISMATCH,
            f"the MLflow model has {len(files)} .keras files and {len(graphs)} SavedModels among its {len(entries)} "
            "files; it must have one of them, as mlflow.keras and mlflow.tensorflow log it",
        )
    start = graphs[0].name.removesuffix("saved_model.pb")
    return tuple(
        dataclasses.replace(each, name=each.name.removeprefix(start)) for each in entries if each.name.startswith(start)
    )


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Server:
    """A tracking server, asked for one model."""

    uri: str
    base: str
    access: Access
    allowance: Allowance
    scratch: Path

    def find(self, name: str, version: str | None, alias: str | None) -> str:
        """Where the artifacts of the version are; raises LoadError."""
        if alias is not None:
            answer = self._ask("registered-models/alias", name=name, alias=alias)
            version = str(self._part(answer, "model_version", dict).get("version"))
        elif version is not None and not version.isdigit():
            answer = self._ask("registered-models/get-latest-versions", name=name, stages=version)
            latest = answer.get("model_versions") or [{}]
            version = (
                str(latest[0].get("version")) if isinstance(latest, list) and isinstance(latest[0], dict) else None
            )
        if version is None or not _NUMBER.fullmatch(version):
            raise LoadError(LoadReason.MODEL_NOT_FOUND, f"{self.uri}: the registry has no such version of the model")
        answer = self._ask("model-versions/get-download-uri", name=name, version=version)
        location = str(self._part(answer, "artifact_uri", str))
        if len(location) > LOCATION_CHARS_MAX or not _is_url(location):
            raise self._odd()
        return location

    def list(self, root: str) -> Iterator[tree.Entry]:
        """All files below a folder of the server's artifacts."""
        folders, known = [""], 0
        while folders:
            folder = folders.pop()
            where = "/".join(part for part in (root, folder) if part)
            answer = self._get(f"{self.base}/api/2.0/mlflow-artifacts/artifacts?{urlencode({'path': where})}")
            for each in self._part(answer, "files", list) if answer.get("files") is not None else ():
                name, is_folder = self._part(each, "path", str), each.get("is_dir") or False
                inner = f"{folder}/{name}" if folder else name
                # Names are of the folder; one with a slash or dots would be asked for elsewhere.
                if "/" in name:
                    raise LoadError(LoadReason.UNSAFE_MODEL, f"{self.uri}: the server lists {name[:100]!r} as a file")
                tree.check_name(inner)
                if not isinstance(is_folder, bool):
                    raise self._odd()
                if not is_folder:
                    url = f"{self.base}/api/2.0/mlflow-artifacts/artifacts/{quote(f'{root}/{inner}')}"
                    yield web_files.entry(inner, url, self.access, size_bytes=self._size(each.get("file_size")))
                    continue
                known += 1
                if known > FOLDERS_MAX:
                    raise LoadError(LoadReason.MODEL_TOO_LARGE, f"{self.uri} has more than {FOLDERS_MAX} folders")
                folders.append(inner)

    def _size(self, given: object) -> int | None:
        """Bytes of a file; as JSON of protobuf has it, a number of 64 bits is a text."""
        if given is None:
            return None
        if isinstance(given, bool) or not isinstance(given, int | str) or not _NUMBER.fullmatch(str(given)):
            raise self._odd()
        return int(given)

    def _ask(self, what: str, **query: str) -> dict[str, Any]:
        return self._get(f"{self.base}/api/2.0/mlflow/{what}?{urlencode(query)}")

    def _get(self, url: str) -> dict[str, Any]:
        answer = http_fetch.read_json(url, self.scratch, self.allowance, self.access)
        if not isinstance(answer, dict):
            raise self._odd()
        return answer

    def _part(self, answer: Any, name: str, kind: type) -> Any:
        found = answer.get(name) if isinstance(answer, dict) else None
        if not isinstance(found, kind):
            raise self._odd()
        return found

    def _odd(self) -> LoadError:
        return LoadError(
            LoadReason.FETCH_FAILED, f"{self.uri}: what spec.model.endpoint answers is not the API of a tracking server"
        )


def _is_at(location: str, base: str) -> bool:
    """Whether the artifacts are at the tracking server itself, which is meant also where no server is named."""
    there, server = urlsplit(location), urlsplit(base)
    if not there.netloc:
        return True
    usual = 443 if server.scheme == "https" else 80
    try:
        is_same_port = (there.port or usual) == (server.port or usual)
    except ValueError:
        return False
    return is_same_port and there.hostname == server.hostname and "@" not in there.netloc


def _is_url(text: str) -> bool:
    try:
        urlsplit(text)
    except ValueError:
        return False
    return True
