"""What a Ray node has to say of itself: each missing or wrong variable is named."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.support import node_members
from tests.support.replica_drain import drain

from fairlead_runtime import config
from fairlead_runtime.errors import LoadError, LoadReason
from fairlead_runtime.replica import Replica


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    node_members.set_environment(monkeypatch, node_members.node(tmp_path))


def test_the_four_variables_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAIRLEAD_NODE_DIRECTORY", "[fd00::1]:7999")
    monkeypatch.setenv("FAIRLEAD_REPLICA_HOST", "fd00::1")
    monkeypatch.setenv("FAIRLEAD_NODE_FOLDER", "/run/fairlead/node")
    assert config.node_environment() == config.NodeEnvironment(
        cluster="default/default",
        replica_host="fd00::1",
        folder=Path("/run/fairlead/node"),
        directory_host="fd00::1",
        directory_port=7999,
    )


@pytest.mark.parametrize(
    "name", ["FAIRLEAD_CLUSTER", "FAIRLEAD_REPLICA_HOST", "FAIRLEAD_NODE_FOLDER", "FAIRLEAD_NODE_DIRECTORY"]
)
def test_a_missing_variable_is_named(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.delenv(name)
    with pytest.raises(
        LoadError, match=f"fairlead: NodeMisconfigured: the Ray node's environment variable {name} is not set"
    ):
        config.node_environment()


async def test_a_node_that_is_not_set_up_fails_a_start_before_the_model_is_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("FAIRLEAD_NODE_FOLDER")
    replica = Replica(
        {
            "schemaVersion": 1,
            "namespace": "default",
            "model": "digits",
            "revision": "a" * 10,
            "revisionNumber": 1,
            "source": {"uri": "file:///nowhere"},
        }
    )
    (error,) = await asyncio.gather(replica.reconfigure(None), return_exceptions=True)
    assert isinstance(error, LoadError)
    assert (error.reason, "FAIRLEAD_NODE_FOLDER" in error.sentence) == (LoadReason.NODE_MISCONFIGURED, True)
    await drain(replica)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("FAIRLEAD_CLUSTER", "default"),
        ("FAIRLEAD_CLUSTER", "a/b/c"),
        ("FAIRLEAD_CLUSTER", "A/b"),
        ("FAIRLEAD_REPLICA_HOST", "localhost"),
        ("FAIRLEAD_REPLICA_HOST", "[::1]"),
        ("FAIRLEAD_NODE_FOLDER", "node"),
        ("FAIRLEAD_NODE_DIRECTORY", "127.0.0.1"),
        ("FAIRLEAD_NODE_DIRECTORY", "127.0.0.1:0"),
        ("FAIRLEAD_NODE_DIRECTORY", "127.0.0.1:65536"),
        ("FAIRLEAD_NODE_DIRECTORY", "127.0.0.1:1e3"),
        ("FAIRLEAD_NODE_DIRECTORY", "::1:80"),
        ("FAIRLEAD_NODE_DIRECTORY", "[127.0.0.1]:80"),
        ("FAIRLEAD_NODE_DIRECTORY", "localhost:80"),
        ("FAIRLEAD_NODE_DIRECTORY", "fe80::1%eth0:80"),
    ],
)
def test_an_invalid_variable_is_named_with_its_expected_form(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(LoadError, match=f"{name} of the Ray node is .*; it must be "):
        config.node_environment()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("FAIRLEAD_CACHE_BYTES", "20G"),
        ("FAIRLEAD_CACHE_BYTES", "-1"),
        ("FAIRLEAD_FETCH_IDLE_SECONDS", "soon"),
        ("FAIRLEAD_TRACES_ENDPOINT", "collector:4318"),
        ("FAIRLEAD_TRACES_SAMPLE_PERCENT", "101"),
    ],
)
def test_an_invalid_setting_of_the_node_is_the_nodes_fault_and_named(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(
        LoadError, match=f"NodeMisconfigured: {name} of the Ray node is '{value}': (Input|String) "
    ) as error:
        config.environment()
    assert error.value.reason is LoadReason.NODE_MISCONFIGURED
