"""Archives of images in the layout of the Open Container Initiative, copied out of a registry.

Source: https://github.com/opencontainers/image-spec/blob/main/image-layout.md
"""

from __future__ import annotations

import dataclasses
import hashlib
import http.client
import io
import json
import pathlib
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from typing import IO, Any

from release import packages

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_BLOCK = 1 << 20


class DigestDiffers(Exception):
    """A blob isn't what its digest says."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Registry:
    """A registry that speaks plain HTTP."""

    address: str
    port: int

    def archive(self, name: str, digest: str, *, reference: str, target: pathlib.Path) -> None:
        """Write the image to a file that `podman load`, `skopeo` and `ctr images import` read.

        Raises:
            DigestDiffers: the registry gave something else.
            OSError: it can't be read.
        """
        manifest = self._manifest(name, digest)
        described = json.loads(manifest)
        index = {
            "schemaVersion": 2,
            "manifests": [
                {
                    "mediaType": MANIFEST,
                    "digest": digest,
                    "size": len(manifest),
                    "annotations": {"org.opencontainers.image.ref.name": reference},
                }
            ],
        }
        with tarfile.open(target, "w", format=tarfile.PAX_FORMAT) as archive:
            _add(archive, "oci-layout", io.BytesIO(b'{"imageLayoutVersion": "1.0.0"}'))
            _add(archive, "index.json", io.BytesIO(json.dumps(index).encode()))
            _add(archive, _blob_path(digest), io.BytesIO(manifest))
            blobs = {each["digest"]: each["size"] for each in (described["config"], *described["layers"])}
            for blob in sorted(blobs):
                with tempfile.TemporaryFile() as file:
                    self._copy(f"/v2/{name}/blobs/{blob}", blob, file)
                    _add(archive, _blob_path(blob), file)

    def _manifest(self, name: str, digest: str) -> bytes:
        content = io.BytesIO()
        self._copy(f"/v2/{name}/manifests/{digest}", digest, content)
        return content.getvalue()

    def _copy(self, path: str, digest: str, target: IO[bytes]) -> None:
        connection = http.client.HTTPConnection(self.address, self.port, timeout=60)
        held = hashlib.sha256()
        try:
            connection.request("GET", path, headers={"Accept": MANIFEST})
            answer = connection.getresponse()
            if answer.status != http.HTTPStatus.OK:
                raise OSError(f"the registry answers {path} with {answer.status} {answer.reason}")
            while block := answer.read(_BLOCK):
                held.update(block)
                target.write(block)
        finally:
            connection.close()
        if f"sha256:{held.hexdigest()}" != digest:
            raise DigestDiffers(f"{path} has the digest sha256:{held.hexdigest()}")


def files(archive: pathlib.Path) -> Iterator[tuple[str, bytes]]:
    """Path and content of what an image's packages are recorded in, without what later layers remove or replace."""
    found: dict[str, bytes] = {}
    with tarfile.open(archive) as held:
        (first,) = _read(held, "index.json")["manifests"]
        for layer in _read(held, _blob_path(first["digest"]))["layers"]:
            with tarfile.open(fileobj=held.extractfile(_blob_path(layer["digest"])), mode="r:*") as content:
                for member in content:
                    _take(found, content, member)
    yield from sorted(found.items())


def _take(found: dict[str, bytes], content: tarfile.TarFile, member: tarfile.TarInfo) -> None:
    path = pathlib.PurePosixPath(member.name.removeprefix("./"))
    if path.name.startswith(".wh."):
        gone = str(path.with_name(path.name.removeprefix(".wh.")))
        for name in [each for each in found if each == gone or each.startswith(f"{gone}/")]:
            del found[name]
    elif member.isfile() and _records_packages(path) and (file := content.extractfile(member)) is not None:
        found[str(path)] = file.read()


def _records_packages(path: pathlib.PurePosixPath) -> bool:
    is_python = path.name == "METADATA" and path.parent.suffix == ".dist-info"
    return is_python or str(path) in ("var/lib/dpkg/status", "usr/lib/os-release")


def _read(archive: tarfile.TarFile, name: str) -> Mapping[str, Any]:
    file = archive.extractfile(name)
    if file is None:
        raise OSError(f"{name} of the archive is not a file")
    found: Mapping[str, Any] = json.load(file)
    return found


def _blob_path(digest: str) -> str:
    return f"blobs/{digest.replace(':', '/')}"


def _add(archive: tarfile.TarFile, name: str, file: IO[bytes]) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode, member.mtime = file.seek(0, io.SEEK_END), 0o644, packages.EPOCH_S
    file.seek(0)
    archive.addfile(member, file)
