"""What each service account may do, as golden files, and that its own requests need exactly that."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.support import chart, leftovers, rights, used_rules
from tests.support.gateway_process import Gateway, revision, spec
from tests.support.operated import Operated
from tests.support.prepared import RAY_CLUSTERS, Prepared
from tests.support.until import until
from tests.support.used_rules import Rule

from fairlead_cli.local import cluster, options
from fairlead_operator.api import names

pytestmark = [pytest.mark.real, pytest.mark.timeout(1200)]

FOLDER = Path(__file__).parents[1] / "data" / "rights"
SYSTEM = chart.SYSTEM
MODELS = "models"
OPERATOR, GATEWAY = (SYSTEM, "fairlead-operator"), (MODELS, "fairlead-gateway")
RBAC = chart.CHART / "files" / "rbac"
RIGHTS = ("ClusterRole", "Role", "ClusterRoleBinding", "RoleBinding", "ServiceAccount")
ANOTHER = "b" * 10


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[cluster.LocalCluster]:
    """An API server that records what service accounts ask for, with the chart's own rights for one namespace."""
    root = tmp_path_factory.mktemp("audited") / "cluster"
    started = cluster.LocalCluster("audited", root, chosen=options.Options(namespace=MODELS))
    with leftovers.owned(started):
        started.up(cluster.KUBERNETES_PARTS)
        used_rules.audit_reads(started)
        kubectl(started, "apply", "--server-side", "--filename=-", text=json.dumps(RAY_CLUSTERS))
        kubectl(started, "wait", "--for=condition=Established", "crd/rayclusters.ray.io")
        yield started


def kubectl(kubernetes: cluster.LocalCluster, *arguments: str, text: str | None = None) -> str:
    done = kubernetes.kubectl(*arguments, input=text)
    assert done.returncode == 0, done.stderr
    return done.stdout


def shipped(*values: str) -> list[dict[str, Any]]:
    """The rights that the chart makes."""
    return [dict(each) for each in chart.render(*values) if each["kind"] in RIGHTS]


@contextlib.contextmanager
def bound_everywhere(kubernetes: cluster.LocalCluster) -> Iterator[None]:
    """The operator's rights without a list of namespaces, in place of those for one namespace."""
    one, everywhere = shipped(f"namespaces={{{MODELS}}}"), shipped()
    exchange(kubernetes, one, everywhere)
    yield
    exchange(kubernetes, everywhere, one)


def exchange(kubernetes: cluster.LocalCluster, old: list[dict[str, Any]], new: list[dict[str, Any]]) -> None:
    gone = [each for each in old if each not in new]
    kubectl(kubernetes, "apply", "--server-side", "--force-conflicts", "--filename=-", text=yaml.safe_dump_all(new))
    kubectl(kubernetes, "delete", "--filename=-", text=yaml.safe_dump_all(gone))


def check(name: str, found: dict[str, list[str]]) -> None:
    """Compare with the golden file; the lines are by the place where they hold."""
    text = "\n".join(f"# {where}\n" + "".join(f"{line}\n" for line in lines) for where, lines in found.items())
    path = FOLDER / f"{name}.txt"
    if os.environ.get("FAIRLEAD_REFRESH") == "1":
        path.write_text(text)
    assert text == path.read_text(), f"FAIRLEAD_REFRESH=1 writes {path.name}"


def operator_may(kubernetes: cluster.LocalCluster, *namespaces: str) -> dict[str, list[str]]:
    return {f"in {each}": rights.may(kubernetes, OPERATOR, namespace=each) for each in namespaces}


def test_what_every_account_may_do(audited: cluster.LocalCluster) -> None:
    check("everybody", {"anywhere": rights.everybody_may(audited)})


def test_what_an_operator_of_one_namespace_may_do(audited: cluster.LocalCluster) -> None:
    check("operator-of-models", operator_may(audited, MODELS, "default", SYSTEM))


def test_what_an_operator_of_all_namespaces_may_do(audited: cluster.LocalCluster) -> None:
    with bound_everywhere(audited):
        check("operator-everywhere", operator_may(audited, "default", SYSTEM))


def test_what_a_gateway_and_a_ray_node_may_do_in_a_namespace_that_the_operator_prepared(
    audited: cluster.LocalCluster, tmp_path: Path
) -> None:
    """The operator makes the gateway's rights itself; those of the shipped file are the same."""
    with Prepared(audited, tmp_path) as world:
        world.apply_class("small", default=True)
        world.apply_model("first")
        world.until_prepared()
        made, given = (world.namespace, "fairlead-gateway"), (MODELS, "fairlead-gateway")
        may = rights.may(audited, made, namespace=world.namespace)
        assert rights.may(audited, given, namespace=MODELS) == may
        elsewhere = rights.may(audited, made, namespace=MODELS)
        check("gateway", {"in its namespace": may, "elsewhere": elsewhere})
        check(
            "ray-node",
            {"in its namespace": rights.may(audited, (world.namespace, "default"), namespace=world.namespace)},
        )
        world.kubectl("delete", "mdep", "first", "--timeout=300s")


def rules_of(*objects: dict[str, Any]) -> set[Rule]:
    """Each verb of each resource of the roles among the objects."""
    return {
        Rule(each["metadata"]["name"], used_rules.resource_name(resource, group), verb, only)
        for each in objects
        for rule in each.get("rules", ())
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
        for only in rule.get("resourceNames", ["*"])
    }


def live_a_models_life(operated: Operated) -> None:
    """Two versions to and fro, more than the history keeps, a bad one, its revert, and the end."""
    for uri in ("one", "two", "one", "two", "three", "four", "broken"):
        operated.apply("digits", f"file:///models/{uri}", revisionHistoryLimit=1)
        condition = "Stalled" if uri == "broken" else "Ready"
        generation = (operated.get("digits") or {})["metadata"]["generation"]
        until(
            lambda condition=condition, generation=generation: (
                (found := operated.condition("digits", condition)).get("status") == "True"
                and found["observedGeneration"] == generation
            ),
            f"{uri} is {condition}",
            explain=lambda: operated.explain("digits"),
        )
    operated.apply("digits", "file:///models/four", revisionHistoryLimit=1)
    operated.until_ready("digits")
    operated.kubectl("delete", "mdep", "digits", "--timeout=300s")
    operated.apply("last")
    operated.until_ready("last")
    refused = used_rules.refused(operated.kubernetes.audit_log, user(OPERATOR))
    assert [each for each in refused if each[1] == operated.namespace] == []
    operated.kubectl("delete", "namespace", operated.namespace, "--timeout=300s", scoped=False)


def live_a_namespaces_life(world: Prepared) -> None:
    """Everything is made, lost in turn, changed by another hand, scaled, and removed."""
    world.apply_class("small", default=True)
    world.apply_model("first")
    made = world.until_prepared()
    for name in made:
        if not name.startswith(("Secret/", "RayCluster/")):  # neither is ever applied a second time
            world.kubectl("annotate", name, f"{names.ANNOTATION_APPLIED}-")
            until(lambda name=name: is_applied(world.objects()[name]), f"{name} is applied again")
    world.apply_class("small", default=True, workers={"min": 2, "max": 30})
    (ray,) = world.ray_clusters()
    most = "jsonpath={.spec.workerGroupSpecs[0].maxReplicas}"
    until(lambda: world.kubectl("get", "raycluster", ray, "-o", most) == "30", "the bounds")
    world.kubectl("delete", "mdep", "first", "--timeout=300s")
    until(lambda: not world.objects(), "everything is gone", explain=world.operator.tail)


def is_applied(found: dict[str, Any]) -> bool:
    return names.ANNOTATION_APPLIED in found["metadata"].get("annotations", {})


def run_a_gateway(kubernetes: cluster.LocalCluster, folder: Path) -> None:
    """Until it knows a route that appeared while it watched; it has read where Ray nodes are."""
    kubeconfig = kubernetes.service_account_kubeconfig(*GATEWAY)
    arguments = ("--discover-nodes", "--kubeconfig", str(kubeconfig), "--namespace", MODELS)
    gateway = Gateway(folder / "gateway", arguments=arguments)
    route = {
        "apiVersion": "fairlead.dev/v1alpha1",
        "kind": "ModelRoute",
        "metadata": {"name": "digits"},
        "spec": spec(ANOTHER, {ANOTHER: revision()}),
    }
    gateway.start()
    try:
        until(gateway.is_ready, "it has read that there is nothing")
        kubectl(kubernetes, "--namespace", MODELS, "create", "--filename=-", text=json.dumps(route))
        until(lambda: set(gateway.live()) == {"digits"}, "it knows the route")
    finally:
        gateway.stop()


def user(account: tuple[str, str]) -> str:
    return f"system:serviceaccount:{account[0]}:{account[1]}"


@pytest.mark.nightly
def test_the_operator_and_the_gateway_need_all_of_their_rules_and_no_others(
    audited: cluster.LocalCluster, tmp_path: Path
) -> None:
    for name in ("namespaced", "prepared", "everywhere", "gateway"):
        (tmp_path / name).mkdir()
    with Prepared(audited, tmp_path / "prepared") as prepared:
        live_a_namespaces_life(prepared)
    with Operated(audited, tmp_path / "namespaced") as operated:
        live_a_models_life(operated)
    ended = operated.namespace  # its binding goes before its models, and `operator-deletion` allows no events
    run_a_gateway(audited, tmp_path / "gateway")
    with bound_everywhere(audited), Operated(audited, tmp_path / "everywhere", where=("--all-namespaces",)) as operated:
        operated.apply("digits")
        operated.until_ready("digits")
        operated.kubectl("delete", "mdep", "digits", "--timeout=300s")
    roles = [*shipped(f"namespaces={{{MODELS}}}"), *yaml.safe_load_all((RBAC / "gateway.yaml").read_text())]
    for account in (OPERATOR, GATEWAY):
        rules = {rule for rule in rules_of(*roles) if rule.role.startswith(account[1])}
        assert {each for each in used_rules.refused(audited.audit_log, user(account)) if each[1] != ended} == set()
        assert rules - used_rules.used(audited.audit_log, user(account), rules) == set()
