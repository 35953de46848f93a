"""An image's archive is what the registry has, and its files are those of its last layer."""

from __future__ import annotations

import hashlib
import http.server
import io
import json
import tarfile
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from release import images
from typing_extensions import override

STATUS, METADATA = "var/lib/dpkg/status", "opt/fairlead/lib/python3.11/site-packages/{}.dist-info/METADATA"
NAME = "fairlead/operator"


def digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def layer(content: Mapping[str, str]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as made:
        for name, text in content.items():
            member = tarfile.TarInfo(name)
            member.size = len(text.encode())
            made.addfile(member, io.BytesIO(text.encode()))
    return packed.getvalue()


class Registry:
    """One image, over HTTP."""

    def __init__(self, *layers: bytes) -> None:
        self.blobs = {digest(each): each for each in (b"{}", *layers)}
        config, *rest = [{"digest": name, "size": len(content)} for name, content in self.blobs.items()]
        manifest: dict[str, Any] = {"schemaVersion": 2, "config": config, "layers": rest}
        self.manifest = json.dumps(manifest).encode()
        self.digest = digest(self.manifest)
        registry = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                kind, wanted = self.path.removeprefix(f"/v2/{NAME}/").split("/")
                content = registry.manifest if kind == "manifests" else registry.blobs.get(wanted)
                self.send_response(200 if content is not None else 404)
                self.end_headers()
                self.wfile.write(content or b"")

            @override
            def log_message(self, format: str, *arguments: Any) -> None:
                """Nothing is logged."""

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever)

    def __enter__(self) -> Registry:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    def archive(self, folder: Path) -> Path:
        target = folder / "image.tar"
        client = images.Registry(address="127.0.0.1", port=self.server.server_port)
        client.archive(NAME, self.digest, reference=f"{NAME}:1.2.3", target=target)
        return target


@pytest.fixture
def registry() -> Iterator[Registry]:
    base = layer({STATUS: "old", METADATA.format("kept"): "kept", METADATA.format("gone"): "gone", "etc/passwd": "x"})
    upper = layer({f"./{STATUS}": "new", "opt/fairlead/lib/python3.11/site-packages/.wh.gone.dist-info": ""})
    with Registry(base, upper) as made:
        yield made


def test_the_archive_holds_the_image_under_its_name(registry: Registry, tmp_path: Path) -> None:
    with tarfile.open(registry.archive(tmp_path)) as archive:
        content = {each.name: archive.extractfile(each) for each in archive}
        read = {name: file.read() for name, file in content.items() if file is not None}
    assert json.loads(read.pop("oci-layout")) == {"imageLayoutVersion": "1.0.0"}
    (only,) = json.loads(read.pop("index.json"))["manifests"]
    assert (only["digest"], only["size"]) == (registry.digest, len(registry.manifest))
    assert only["annotations"] == {"org.opencontainers.image.ref.name": f"{NAME}:1.2.3"}
    whole = {registry.digest: registry.manifest, **registry.blobs}
    assert read == {f"blobs/{name.replace(':', '/')}": blob for name, blob in whole.items()}


def test_the_records_of_packages_are_those_of_the_last_layer(registry: Registry, tmp_path: Path) -> None:
    found = dict(images.files(registry.archive(tmp_path)))
    assert found == {STATUS: b"new", METADATA.format("kept"): b"kept"}


def test_a_blob_that_is_not_what_its_digest_says_ends_the_release(registry: Registry, tmp_path: Path) -> None:
    last = list(registry.blobs)[-1]
    registry.blobs[last] = b"another"
    with pytest.raises(images.DigestDiffers, match=last[:20]):
        registry.archive(tmp_path)


def test_a_blob_that_is_missing_ends_the_release(registry: Registry, tmp_path: Path) -> None:
    registry.blobs.popitem()
    with pytest.raises(OSError, match="404"):
        registry.archive(tmp_path)
