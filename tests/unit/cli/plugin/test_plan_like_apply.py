"""`kubectl fairlead plan` merges and refuses manifests as `kubectl apply` and the API server do."""

from __future__ import annotations

import json
from typing import Any

import pytest
import typer.testing
import yaml
from tests.support.plugin_cluster import WorldCluster
from tests.support.virtual_world import VirtualWorld

from fairlead_cli.plugin import applying, cluster, commands

NAME = "digits"
SPEC: dict[str, Any] = {"model": {"uri": "file:///m/1", "version": "v1"}}


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> WorldCluster:
    """A model with 3 replicas, which the last apply did not set."""
    world = VirtualWorld()
    world.apply(NAME, **SPEC, scaling={"replicas": 3}, suspend=True)
    world.settle()
    made = WorldCluster(world)
    made.annotations = {applying.ANNOTATION: json.dumps({"spec": {**SPEC, "suspend": True}})}
    monkeypatch.setattr(cluster, "connect", lambda **place: made)
    return made


def manifest(name: str = NAME, /, *, namespace: str | None = None, **spec: Any) -> dict[str, Any]:
    metadata = {"name": name} | ({"namespace": namespace} if namespace is not None else {})
    return {
        "apiVersion": "fairlead.dev/v1alpha1",
        "kind": "ModelDeployment",
        "metadata": metadata,
        "spec": {**SPEC, **spec},
    }


def plan(*documents: Any, arguments: tuple[str, ...] = ()) -> tuple[int, str, str]:
    text = yaml.safe_dump_all(documents) if not isinstance(documents[0], str) else documents[0]
    result = typer.testing.CliRunner().invoke(commands.app, ["plan", "-f", "-", "-o", "json", *arguments], input=text)
    return result.exit_code, result.stdout, " ".join(result.stderr.split())


def changes(*documents: Any) -> list[str]:
    code, output, _ = plan(*documents)
    assert code == 0
    return list(json.loads(output)[0]["changes"])


def test_replicas_that_the_manifest_leaves_out_keep_their_stored_value(found: WorldCluster) -> None:
    assert changes(manifest(suspend=True)) == []
    assert changes(manifest(suspend=True, scaling={"replicas": 4})) == ["spec.scaling.replicas: 3 -> 4"]


def test_a_field_that_the_last_apply_set_and_the_manifest_leaves_out_is_removed(found: WorldCluster) -> None:
    assert changes(manifest()) == ["spec.suspend: true -> false"]


def test_a_field_with_null_is_removed(found: WorldCluster) -> None:
    assert changes(manifest(suspend=True, scaling={"replicas": None})) == ["spec.scaling.replicas: 3 -> 1"]


def test_without_an_earlier_apply_nothing_is_removed_and_the_plan_names_the_reason(found: WorldCluster) -> None:
    found.annotations = {}
    (planned,) = json.loads(plan(manifest())[1])
    assert planned["changes"] == []
    assert planned["notes"][0].startswith("It was not created by kubectl apply")


@pytest.mark.parametrize(
    ("document", "field"),
    [
        ({**manifest(), "spce": {}}, "spce"),
        ({**manifest(), "metadata": {"name": NAME, "lables": {}}}, "metadata.lables"),
        (manifest(rollot={}), "spec.rollot"),
        (manifest(scaling={"min_replicas": 1}), "spec.scaling.min_replicas"),
        (
            manifest(rollout={"strategy": "Canary", "steps": [{"pause": {}}, {"setWight": 1}]}),
            "spec.rollout.steps[1].setWight",
        ),
    ],
)
def test_an_unknown_field_is_refused_with_its_path(found: WorldCluster, document: Any, field: str) -> None:
    assert plan(document) == (1, "", f'{NAME}: strict decoding error: unknown field "{field}"')


def test_every_unknown_field_is_named(found: WorldCluster) -> None:
    assert plan(manifest(a=1, b=2))[2].endswith('unknown field "spec.a", unknown field "spec.b"')


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (yaml.safe_dump(manifest()) + "kind: ModelDeployment\n", "key kind is repeated"),
        ("- 1\n", "A document of the file has no kind."),
        ("kind: List\nitems: 1\n", "items of List must be a list."),
        ("kind: ModelDeployment\n", "has no metadata.name."),
        ("kind: ModelDeployment\nmetadata: {name: a}\n", "a: apiVersion must be fairlead.dev/v1alpha1, not None."),
        ("kind: Service\n", "The file contains no ModelDeployment."),
    ],
)
def test_a_file_that_apply_refuses_is_refused(found: WorldCluster, text: str, expected: str) -> None:
    code, output, error = plan(text)
    assert (code, output) == (1, "")
    assert expected in error


def test_another_namespace_than_that_of_the_option_is_refused(found: WorldCluster) -> None:
    code, _, error = plan(manifest(namespace="a"), arguments=("--namespace", "b"))
    assert (code, error) == (1, f"{NAME}: metadata.namespace is a and --namespace is b; they must be the same.")
    assert plan(manifest(namespace="a"), arguments=("--namespace", "a"))[0] == 0


def test_lists_and_several_documents_are_planned_in_their_order(found: WorldCluster) -> None:
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}}
    items = {"apiVersion": "v1", "kind": "List", "items": [manifest("b"), service]}
    code, output, error = plan(manifest("c"), None, items, manifest())
    assert (code, [each["name"] for each in json.loads(output)]) == (0, ["c", "b", NAME])
    assert error == "Not planned, as only ModelDeployments are: Service web."


def test_a_model_that_is_there_twice_is_refused(found: WorldCluster) -> None:
    assert plan(manifest(), manifest(suspend=True))[2].startswith(f"The file contains ModelDeployment {NAME} twice")
