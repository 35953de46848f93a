"""Where a registry may send a replica without a Secret for a token."""

from __future__ import annotations

from pathlib import Path

import pytest

from fairlead_runtime.errors import LoadError, LoadReason
from fairlead_runtime.model import http_fetch
from fairlead_runtime.model.bounds import Bounds
from fairlead_runtime.model.fetching import allowance
from fairlead_runtime.model.fetching.access import Access
from fairlead_runtime.model.fetching.oci_login import Login
from fairlead_runtime.model.fetching.outbound import Outbound, Proxy, parse_networks
from fairlead_runtime.model.http_fetch import Asking, UnauthorizedError

PUBLIC, PRIVATE = "1.1.1.1", "10.0.0.1"
EVERYWHERE = parse_networks("0.0.0.0/0")
PROXY = Proxy(host="proxy", port=1)


def log_in(monkeypatch: pytest.MonkeyPatch, realm: str, outbound: Outbound, *, peer: str) -> tuple[str, Outbound]:
    """What is asked for a token, and by which rules; the registry is https://registry.example.org at `peer`."""
    asked: list[tuple[str, Outbound]] = []

    def read_json(url: str, scratch: Path, allowed: allowance.Allowance, access: Access) -> object:
        asked.append((url, access.outbound))
        return {"token": "abc"}

    def call(access: Access, asking: Asking) -> str:
        if asking.authorization is None:
            raise UnauthorizedError(LoadReason.MODEL_FORBIDDEN, "no", f'Bearer realm="{realm}",service="us"', peer)
        return asking.authorization

    monkeypatch.setattr(http_fetch, "read_json", read_json)
    with allowance.starting(Bounds(bytes_max=1, total_s=60)) as allowed:
        login = Login("https://registry.example.org/v2/m", Access(outbound=outbound), allowed, Path("scratch"))
        assert login.ask(call) == "Bearer abc"
    (only,) = asked
    return only


def test_a_public_registry_may_have_another_public_token_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """As Docker Hub has."""
    url, rules = log_in(
        monkeypatch, "https://auth.example.org/token", Outbound(networks=EVERYWHERE, proxy=None), peer=PUBLIC
    )
    assert url == "https://auth.example.org/token?service=us"
    for private in ("10.0.0.5", "127.0.0.1", "localhost"):
        with pytest.raises(LoadError, match="is not a public address"):
            rules.connect(private, 1, is_tls=True, timeout_s=5)


def test_a_name_that_a_proxy_resolves_is_not_known_to_be_public(monkeypatch: pytest.MonkeyPatch) -> None:
    direct = Proxy(host="proxy", port=1, excluded=("registry.example.org",))
    _, rules = log_in(monkeypatch, "https://auth.example.org/token", Outbound(proxy=direct), peer=PUBLIC)
    with pytest.raises(LoadError, match="asked through a proxy"):
        rules.connect("auth.example.org", 443, is_tls=True, timeout_s=5)


@pytest.mark.parametrize(
    ("outbound", "peer"),
    [
        (Outbound(networks=EVERYWHERE), PRIVATE),
        (Outbound(networks=EVERYWHERE), "::ffff:10.0.0.1"),
        (Outbound(networks=EVERYWHERE, proxy=PROXY), PUBLIC),
    ],
    ids=["private", "private in IPv6", "by a proxy"],
)
def test_one_that_is_not_public_has_its_own_alone(
    monkeypatch: pytest.MonkeyPatch, outbound: Outbound, peer: str
) -> None:
    with pytest.raises(LoadError, match="allowedHosts of the ServingClass must list both hosts") as raised:
        log_in(monkeypatch, "https://auth.example.org/token", outbound, peer=peer)
    assert raised.value.reason is LoadReason.MODEL_FORBIDDEN
    _, rules = log_in(monkeypatch, "https://REGISTRY.example.org./token", outbound, peer=peer)
    rules.check_host("registry.example.org")
    with pytest.raises(LoadError):
        rules.check_host("auth.example.org")


def test_a_listed_host_is_the_platforms_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    listed = Outbound(hosts=("registry.example.org", "*.corp.example"), networks=EVERYWHERE, proxy=PROXY)
    url, rules = log_in(monkeypatch, "https://auth.corp.example/t?a=b", listed, peer=PRIVATE)
    assert (url, rules) == ("https://auth.corp.example/t?a=b&service=us", listed)


def test_a_registry_with_tls_has_no_token_server_without(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(LoadError, match="without TLS"):
        log_in(monkeypatch, "http://registry.example.org/token", Outbound(), peer=PUBLIC)
