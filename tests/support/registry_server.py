"""A real OCI registry on loopback, Debian's `docker-registry`, and what `oras push` does, by its API."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx
from tests.support import debian_packages, object_servers
from tests.support.free_ports import free_port

from fairlead_cli.local import paths

PACKAGE = "docker-registry"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
SECRET = {"username": "me", "password": "word"}
# The registry takes bcrypt alone, for which Python has no function of its own. It is the password of `SECRET`.
_HTPASSWD = "me:$2b$04$7RkydTi0nZr5JrZ8VHb5neOu03tGEB76nAkfFev0WSXDadO6QcYD6\n"


class Registry:
    """The registry's URL, and artifacts that are pushed into it."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._client = httpx.Client(base_url=url, auth=(SECRET["username"], SECRET["password"]), timeout=60)

    def close(self) -> None:
        self._client.close()

    def push(self, repository: str, tag: str, files: Mapping[str, bytes]) -> str:
        """Stores each file as a layer with its title; gives the manifest's digest."""
        config = self._put_blob(repository, b"{}")
        layers = [
            {**self._put_blob(repository, content), "annotations": {"org.opencontainers.image.title": title}}
            for title, content in files.items()
        ]
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": {**config, "mediaType": "application/vnd.oci.empty.v1+json"},
            "layers": layers,
        }
        answer = self._client.put(
            f"/v2/{repository}/manifests/{tag}", content=json.dumps(manifest), headers={"content-type": MANIFEST}
        )
        answer.raise_for_status()
        return answer.headers["docker-content-digest"]

    def _put_blob(self, repository: str, content: bytes) -> dict[str, object]:
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        started = self._client.post(f"/v2/{repository}/blobs/uploads/")
        started.raise_for_status()
        where = httpx.URL(started.headers["location"]).copy_merge_params({"digest": digest})
        self._client.put(where, content=content).raise_for_status()
        return {"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": digest, "size": len(content)}


def _obtain() -> Path:
    """The program, on the PATH or out of Debian's package, unpacked into our cache."""
    if found := shutil.which(PACKAGE):
        return Path(found)
    kept = paths.cache_dir() / "bin" / "debian" / PACKAGE
    if not os.access(kept, os.X_OK):
        kept.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=kept.parent) as folder:
            (debian_packages.unpack([PACKAGE], Path(folder)) / "usr" / "bin" / PACKAGE).replace(kept)
    return kept


@contextmanager
def serving(folder: Path) -> Iterator[Registry]:
    """A registry that takes the user of `SECRET` alone."""
    folder.mkdir()
    port = free_port()
    (folder / "users").write_text(_HTPASSWD)
    configuration = {
        "version": 0.1,
        "storage": {"filesystem": {"rootdirectory": str(folder / "data")}},
        "http": {"addr": f"127.0.0.1:{port}"},
        "auth": {"htpasswd": {"realm": "tests", "path": str(folder / "users")}},
    }
    (folder / "config.yml").write_text(json.dumps(configuration))
    url = f"http://127.0.0.1:{port}"
    argv = [str(_obtain()), "serve", str(folder / "config.yml")]
    with object_servers.running(argv, folder / "log", lambda: object_servers.answers(f"{url}/v2/")):
        registry = Registry(url)
        try:
            yield registry
        finally:
            registry.close()
