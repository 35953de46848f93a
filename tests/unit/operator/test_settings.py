"""Where a setting comes from, and the error for an invalid one."""

from __future__ import annotations

from pathlib import Path

import pytest

from fairlead_operator import settings
from fairlead_operator.state.directory import Cluster

BASE = ("--namespace", "default")


def test_flags_win_over_environment_over_file_over_defaults(tmp_path: Path) -> None:
    config = tmp_path / "operator.yaml"
    config.write_text("workers: 3\nresync-seconds: 30\nlog-format: json\nnamespace: [from-file]\n")
    environment = {"FAIRLEAD_CONFIG": str(config), "FAIRLEAD_WORKERS": "5", "FAIRLEAD_RESYNC_SECONDS": "60"}
    loaded = settings.load(["--workers", "7"], environment)
    assert (loaded.workers, loaded.resync_s, loaded.log_format, loaded.sweep_s) == (7, 60.0, "json", 5.0)
    assert loaded.namespaces == ("from-file",)
    assert loaded.bounds.resync_s == 60.0


def test_ray_clusters_and_gateways_are_given_by_namespace() -> None:
    flags = [*BASE, "--ray", "a=http://ray-a:8265", "--ray", "b=http://ray-b:8265"]
    flags += ["--gateway", "a=http://one:1,http://one:2", "--gateway", "a=http://two:1,http://two:2"]
    loaded = settings.load(flags, {})
    assert loaded.clusters == {
        "a": (Cluster(name="default", url="http://ray-a:8265"),),
        "b": (Cluster(name="default", url="http://ray-b:8265"),),
    }
    assert [gateway.admin_url for gateway in loaded.gateways["a"]] == ["http://one:2", "http://two:2"]
    assert [gateway.name for gateway in loaded.gateways["a"]] == ["gateway-0", "gateway-1"], "no address is shown"
    loaded = settings.load([*BASE, "--prometheus", "a=http://prometheus:9090"], {})
    assert loaded.prometheus_urls == {"a": "http://prometheus:9090"}
    loaded = settings.load([*BASE, "--monitoring-namespace", "monitoring"], {})
    assert loaded.monitoring_namespace == "monitoring"
    loaded = settings.load([*BASE, "--public-url", "a=https://models.example/a/"], {})
    assert loaded.public_urls == {"a": "https://models.example/a"}


def test_a_namespace_may_have_several_ray_clusters_and_new_revisions_go_to_the_first() -> None:
    loaded = settings.load([*BASE, "--ray", "a/gpu=http://gpu:8265", "--ray", "a=http://cpu:8265"], {})
    assert [cluster.name for cluster in loaded.clusters["a"]] == ["gpu", "default"]


def test_lists_come_from_the_environment_as_words() -> None:
    environment = {"FAIRLEAD_NAMESPACE": "a b", "FAIRLEAD_RAY": "a=http://x:1 b=http://y:2"}
    loaded = settings.load([], environment)
    assert loaded.namespaces == ("a", "b")
    assert set(loaded.clusters) == {"a", "b"}


def test_all_namespaces_is_an_empty_list() -> None:
    assert settings.load(["--all-namespaces"], {}).namespaces == ()
    assert settings.load([], {"FAIRLEAD_ALL_NAMESPACES": "true"}).namespaces == ()


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        pytest.param((), "namespace: name at least one", id="no namespace"),
        pytest.param((*BASE, "--all-namespaces"), "not both", id="one and all"),
        pytest.param(
            (*BASE, "--ray", "http://x:1"), "ray: 'http://x:1' must look like NAMESPACE=", id="ray without a name"
        ),
        pytest.param((*BASE, "--ray", "a/B=http://x:1"), "must look like NAMESPACE/CLUSTER=", id="a name in capitals"),
        pytest.param((*BASE, "--ray", "a/=http://x:1"), "must look like NAMESPACE/CLUSTER=", id="an empty name"),
        pytest.param(
            (*BASE, "--ray", "a=http://x:1", "--ray", "a/default=http://y:1"),
            "ray: 'a/default=http://y:1' gives cluster default of namespace a a second time",
            id="one name for two clusters",
        ),
        pytest.param(
            (*BASE, "--ray", "a=http://x:80", "--ray", "b/gpu=http://X/"),
            "ray: 'a=http://x:80' and 'b/gpu=http://X/' are the same Ray cluster",
            id="two namespaces on one cluster",
        ),
        pytest.param(
            (*BASE, "--ray", "a=http://localhost:1", "--ray", "a/gpu=http://127.0.0.1:1"),
            "are the same Ray cluster",
            id="two names for one cluster",
        ),
        pytest.param(
            (*BASE, "--gateway", "a=http://x:1,http://x:2", "--gateway", "b=http://x:3,http://x:2"),
            "gateway: 'a=http://x:1,http://x:2' and 'b=http://x:3,http://x:2' are the same gateway",
            id="two namespaces on one gateway",
        ),
        pytest.param((*BASE, "--ray", "a=http://[x"), "is no URL", id="a broken address"),
        pytest.param((*BASE, "--ray-head-url", "http://x:1/{cluster}"), "with {namespace}", id="heads of one address"),
        pytest.param((*BASE, "--ray-head-url", "{namespace}/{cluster}"), "must be a URL", id="heads without a scheme"),
        pytest.param(
            (*BASE, "--ray-head-url", "http://{cluster}.{namespace}.{zone}"), "must be a URL", id="an unknown name"
        ),
        pytest.param((*BASE, "--gateway", "a=http://x:1"), "gateway: 'a=http://x:1' must look like", id="one port"),
        pytest.param(
            (*BASE, "--public-url", "a=http://me:secret@x:1"), "public-url: that of a must have no user", id="a user"
        ),
        pytest.param((*BASE, "--public-url", "a=http://[x"), "public-url: that of a is no URL", id="a broken URL"),
        pytest.param((*BASE, "--public-url", "x:1"), "public-url: 'x:1' must look like NAMESPACE=", id="no name"),
        pytest.param((*BASE, "--workers", "many"), "workers: 'many' is not a number", id="not a number"),
        pytest.param((*BASE, "--workers", "0"), "workers: 0 is less than 1", id="no workers"),
        pytest.param((*BASE, "--listen", "8080"), "listen: '8080' must look like", id="no host"),
        pytest.param((*BASE, "--log-format", "xml"), "log-format: 'xml' must be one of text, json", id="unknown word"),
        pytest.param((*BASE, "--kubeconfig", "/not/there"), "kubeconfig: cannot read /not/there", id="unreadable file"),
        pytest.param((*BASE, "--config", "/not/there"), "config: cannot read /not/there", id="unreadable config"),
    ],
)
def test_an_invalid_setting_is_named_with_the_expected_form(flags: tuple[str, ...], words: str) -> None:
    with pytest.raises(settings.SettingsError) as refused:
        settings.load(flags, {})
    assert words in str(refused.value)


def test_an_unknown_key_in_the_file_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    config = tmp_path / "operator.yaml"
    config.write_text("namespace: default\nworker: 3\n")
    with pytest.raises(settings.SettingsError, match=r"unknown setting 'worker'; known: .*workers"):
        settings.load(["--config", str(config)], {})
