"""Models in an OCI registry: an artifact of one file or archive, or of a file for each layer, as `oras push` makes it.

Source: OCI distribution specification 1.1; OCI image specification 1.1, manifest.md.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from fairlead_runtime.errors import LoadError, LoadReason
from fairlead_runtime.model import digest, http_fetch
from fairlead_runtime.model.fetching import tree
from fairlead_runtime.model.fetching.access import Access
from fairlead_runtime.model.fetching.allowance import Allowance
from fairlead_runtime.model.fetching.oci_login import Login

_PART = "[a-z0-9]+(?:[._-]+[a-z0-9]+)*"
_DIGEST = "sha256:[0-9a-f]{64}"
_URI = re.compile(f"oci://([^/?#@]+)/({_PART}(?:/{_PART})*)(?::([A-Za-z0-9_][A-Za-z0-9._-]{{0,127}})|@({_DIGEST}))")
_MANIFESTS = ("application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json")
_INDEX = "application/vnd.oci.image.index.v1+json"
_TITLE = "org.opencontainers.image.title"
_UNPACK = "io.deis.oras.content.unpack"  # what ORAS gives a folder, which it packs
ONLY = "artifact"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Layer:
    digest: str
    size_bytes: int
    title: str | None
    is_packed: bool


def download(uri: str, into: Path, allowance: Allowance, access: Access, *, expect: Callable[[int], None]) -> None:
    """Writes the only layer as the new file `into`, or each layer by its title into a new folder; raises LoadError."""
    parts = _URI.fullmatch(uri)
    if parts is None:
        raise LoadError(
            LoadReason.MODEL_NOT_FOUND,
            f"spec.model.uri: {uri} must look like oci://HOST/REPOSITORY:TAG or oci://HOST/REPOSITORY@sha256:DIGEST",
        )
    host, repository, tag, pinned = parts.groups()
    registry = _Registry(
        uri=uri,
        base=f"{(access.endpoint or f'https://{host}').rstrip('/')}/v2/{repository}",
        allowance=allowance,
        access=access,
        scratch=into.with_name("listing"),
    )
    layers = registry.find_layers(tag or pinned)
    if len(layers) == 1:
        (only,) = tree.check([registry.entry(layers[0], ONLY)], allowance.bounds)
        expect(layers[0].size_bytes)
        tree.download_one(only, into, allowance)
        return
    if any(each.title is None or each.is_packed for each in layers):
        raise LoadError(
            LoadReason.FORMAT_MISMATCH,
            f"{uri} has {len(layers)} layers that are not files with a title each: push the model as one archive or "
            "as files (oras push), not as an image",
        )
    found = tree.check((registry.entry(each, each.title or "") for each in layers), allowance.bounds)
    expect(tree.sum_sizes(found))
    tree.download(found, into, allowance)


class _Registry:
    """A repository of a registry, asked for one artifact."""

    def __init__(self, *, uri: str, base: str, allowance: Allowance, access: Access, scratch: Path) -> None:
        self._uri = uri
        self._base = base
        self._allowance = allowance
        self._scratch = scratch
        self._login = Login(base, access, allowance, scratch.with_name("token"))

    def find_layers(self, reference: str) -> list[_Layer]:
        """The layers of a tag's or a digest's manifest; raises LoadError."""
        manifest = self._read_manifest(reference)
        if manifest.get("mediaType") == _INDEX or "manifests" in manifest:
            listed = manifest.get("manifests")
            if not isinstance(listed, list) or len(listed) != 1:
                raise LoadError(
                    LoadReason.FORMAT_MISMATCH,
                    f"{self._uri} is an index of several manifests: name one of them by its digest (@sha256:…)",
                )
            manifest = self._read_manifest(self._descriptor(listed[0])[0])
        layers = manifest.get("layers")
        if not isinstance(layers, list):
            raise self._odd()
        if not 0 < len(layers) <= self._allowance.bounds.entries_max:
            raise LoadError(
                LoadReason.MODEL_TOO_LARGE if layers else LoadReason.MODEL_NOT_FOUND,
                f"{self._uri} has {len(layers)} layers; from 1 to {self._allowance.bounds.entries_max} are read",
            )
        return [self._layer(each) for each in layers]

    def entry(self, layer: _Layer, name: str) -> tree.Entry:
        """A layer's content, under a name of the model's folder."""

        def tasks(target: Path, transfer: tree.Transfer) -> Iterator[tree.Task]:
            yield lambda: self._download(layer, target, transfer)

        return tree.Entry(name=name, size_bytes=layer.size_bytes, tasks=tasks)

    def _download(self, layer: _Layer, target: Path, transfer: tree.Transfer) -> None:
        listener = http_fetch.Listener(count=transfer.count, bytes_max=layer.size_bytes)
        url = f"{self._base}/blobs/{layer.digest}"
        self._login.ask(
            lambda access, asking: http_fetch.download(url, target, self._allowance, access, listener, asking)
        )
        if f"sha256:{digest.hash_file(target)}" != layer.digest:
            raise self._other_content(layer.digest)

    def _read_manifest(self, reference: str) -> dict[str, object]:
        url = f"{self._base}/manifests/{reference}"
        accept = ", ".join((*_MANIFESTS, _INDEX))
        raw = self._login.ask(
            lambda access, asking: http_fetch.read_small(
                url, self._scratch, self._allowance, access, asking.with_accept(accept)
            )
        )
        if reference.startswith("sha256:") and f"sha256:{hashlib.sha256(raw).hexdigest()}" != reference:
            raise self._other_content(reference)
        try:
            found = json.loads(raw)
        except (ValueError, RecursionError):
            raise self._odd() from None
        if not isinstance(found, dict):
            raise self._odd()
        return found

    def _layer(self, given: object) -> _Layer:
        found, size_bytes, annotations = self._descriptor(given)
        title = annotations.get(_TITLE)
        if title is not None and not isinstance(title, str):
            raise self._odd()
        return _Layer(digest=found, size_bytes=size_bytes, title=title, is_packed=annotations.get(_UNPACK) == "true")

    def _descriptor(self, given: object) -> tuple[str, int, dict[str, object]]:
        """Digest, bytes and annotations of what a manifest refers to."""
        if isinstance(given, dict):
            found, size, annotations = given.get("digest"), given.get("size"), given.get("annotations") or {}
            is_digest = isinstance(found, str) and re.fullmatch(_DIGEST, found)
            if is_digest and isinstance(annotations, dict) and type(size) is int and size >= 0:
                return str(found), size, annotations
        raise self._odd()

    def _other_content(self, expected: str) -> LoadError:
        return LoadError(LoadReason.DIGEST_MISMATCH, f"{self._uri}: the registry sends other content for {expected}")

    def _odd(self) -> LoadError:
        return LoadError(
            LoadReason.FETCH_FAILED, f"{self._uri}: what answers is not a registry, or this is no manifest of version 2"
        )
