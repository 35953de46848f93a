"""A Secret is sent to the hosts that the platform binds it to, whatever the author of a model writes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from aiohttp import web
from tests.support import object_servers
from tests.support.http_thread import HttpThread

from fairlead_runtime.errors import LoadError, LoadReason
from fairlead_runtime.model import source
from fairlead_runtime.model.bounds import Bounds
from fairlead_runtime.model.cache import Cache
from fairlead_runtime.model.fetching import secret_hosts
from fairlead_runtime.model.fetching.access import Access

BOUNDS = Bounds(bytes_max=1_000_000, entries_max=20, idle_s=5, total_s=60)
SECRETS = {
    "web": {"token": "abc"},
    "s3": object_servers.S3_SECRET,
    "s3-elsewhere": {**object_servers.S3_SECRET, "AWS_ENDPOINT_URL": "https://evil.example"},
    "az": {"AZURE_STORAGE_ACCOUNT_NAME": "account", "AZURE_STORAGE_ACCOUNT_KEY": "YWJj"},
    "az-client": {
        "AZURE_STORAGE_ACCOUNT_NAME": "account",
        "AZURE_CLIENT_ID": "a",
        "AZURE_CLIENT_SECRET": "b",
        "AZURE_TENANT_ID": "c",
    },
}


class Evil:
    """A server of the author's own choice, with every request that reached it."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def application(self) -> web.Application:
        async def answer(request: web.Request) -> web.Response:
            self.asked.append(request.path)
            return web.json_response({"artifact_uri": "s3://models/m"})

        made = web.Application()
        made.router.add_route("*", "/{path:.*}", answer)
        return made


@pytest.fixture
def evil() -> Iterator[tuple[Evil, str]]:
    served = Evil()
    thread = HttpThread(served.application)
    thread.start()
    yield served, thread.url
    thread.stop()


def refusal_of(uri: str, tmp_path: Path, secret: str, endpoint: str | None, *hosts: str) -> str:
    object_servers.write_secret(tmp_path / "secrets", secret, SECRETS[secret])
    access = Access(
        endpoint=endpoint,
        secret=secret,
        secrets_dir=tmp_path / "secrets",
        secret_hosts={secret: hosts} if hosts else {},
        outbound=object_servers.LOOPBACK,
    )
    with pytest.raises(LoadError) as raised:
        source.fetch(uri, None, Cache(tmp_path / "cache", bytes_max=10**9), BOUNDS, access=access)
    assert raised.value.reason is LoadReason.MODEL_FORBIDDEN, raised.value.sentence
    return raised.value.sentence


@pytest.mark.parametrize(
    ("uri", "secret"),
    [
        ("URL/m.keras", "web"),
        ("s3://models/m", "s3"),
        ("az://models/m", "az"),
        ("hf://org/name@main", "web"),
        ("models:/digits/1", "web"),
    ],
)
@pytest.mark.parametrize("hosts", [("models.example.org", "*.example.net"), ()])
def test_a_host_of_the_author_s_choice_is_not_asked(
    evil: tuple[Evil, str], tmp_path: Path, uri: str, secret: str, hosts: tuple[str, ...]
) -> None:
    served, url = evil
    refusal = refusal_of(uri.replace("URL", url), tmp_path, secret, None if "URL" in uri else url, *hosts)
    assert f"Secret {secret} (spec.model.credentialsSecretName) must not be sent to host 127.0.0.1" in refusal
    assert "spec.sources.credentials of the ServingClass" in refusal
    assert not served.asked


@pytest.mark.parametrize(
    ("uri", "secret", "host"),
    [
        ("s3://models/m", "s3", "s3.us-east-1.amazonaws.com"),
        ("az://models/m", "az", "account.blob.core.windows.net"),
        ("az://models/m", "az-client", "login.microsoftonline.com"),
    ],
)
def test_the_hosts_that_are_asked_without_an_endpoint_have_to_be_listed_too(
    tmp_path: Path, uri: str, secret: str, host: str
) -> None:
    hosts = ("models.example.org",) if secret != "az-client" else ("account.blob.core.windows.net",)
    assert f"must not be sent to host {host}." in refusal_of(uri, tmp_path, secret, None, *hosts)


def test_the_bucket_of_a_registry_s_artifacts_is_held_to_it_like_the_registry(
    evil: tuple[Evil, str], tmp_path: Path
) -> None:
    _, url = evil
    refusal = refusal_of("models:/digits/1", tmp_path, "s3-elsewhere", url, "127.0.0.1")
    assert "must not be sent to host evil.example" in refusal


def test_the_setting_is_read_by_secret() -> None:
    known = secret_hosts.parse("reader=a.example.org, *.example.net; other = b ;*=localhost")
    secret_hosts.find("reader", known).check("B.Example.NET.")
    secret_hosts.find("unnamed", known).check("localhost")
    for name, host in (("other", "a.example.org"), ("reader", "localhost"), ("reader", "example.net")):
        with pytest.raises(LoadError):
            secret_hosts.find(name, known).check(host)


@pytest.mark.parametrize("text", ["reader", "reader=", "=a", "reader=*", "reader=*.", "reader=a.*.b", "a=b;a=c"])
def test_a_wrong_setting_is_refused_by_its_name(text: str) -> None:
    with pytest.raises(LoadError) as raised:
        secret_hosts.parse(text)
    assert raised.value.sentence.startswith("FAIRLEAD_SOURCE_CREDENTIALS of the Ray node")
