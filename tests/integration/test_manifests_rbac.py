"""The rules that the chart ships: exactly what the code needs, as the API server answers to service-account tokens."""

from __future__ import annotations

import json
import pathlib
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest
import yaml
from tests.support import kube_api, manifest_table
from tests.support.until import until

from fairlead_cli.local import cluster

FILES = pathlib.Path(__file__).parents[2] / "charts/fairlead/files/rbac"
OPERATOR = "fairlead-system/fairlead-operator"
GATEWAY = "default/fairlead-gateway"
ROUTES = "modelroutes.fairlead.dev"


def _objects() -> list[dict[str, Any]]:
    return [each for path in sorted(FILES.glob("*.yaml")) for each in yaml.safe_load_all(path.read_text())]


def _rules() -> list[dict[str, Any]]:
    return [rule for each in _objects() for rule in each.get("rules", [])]


def _role(name: str) -> set[tuple[str, str, str]]:
    """(resource, verb, resource name or *) of a role."""
    (role,) = (each for each in _objects() if each["kind"].endswith("Role") and each["metadata"]["name"] == name)
    return {
        (f"{resource}.{group}".rstrip("."), verb, only)
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
        for only in rule.get("resourceNames", ["*"])
    }


def test_no_rule_has_a_wildcard() -> None:
    for rule in _rules():
        for values in rule.values():
            assert "*" not in values, rule


def test_no_rule_lets_anyone_enter_pods_or_grow_in_rights() -> None:
    for rule in _rules():
        assert "pods" not in rule["resources"] or set(rule["verbs"]) == {"list", "watch"}, rule
        assert not {"pods/exec", "pods/attach", "serviceaccounts/token"} & set(rule["resources"]), rule
        assert not {"escalate", "bind", "impersonate"} & set(rule["verbs"]), rule


def test_secrets_roles_and_what_runs_pods_are_allowed_by_name_alone() -> None:
    kinds = ("serviceaccounts", "deployments", "roles", "rolebindings")
    limited = {"secrets": ["fairlead-ray-token"]} | {kind: ["fairlead-gateway"] for kind in kinds}
    found = [(each, rule.get("resourceNames")) for rule in _rules() for each in rule["resources"] if each in limited]
    assert dict(found) == limited
    assert len(found) == len(limited)


CHANGES = ("create", "patch", "delete")
MAKES = ("get", "list", "watch", *CHANGES)
MADE = (
    ("secrets", "fairlead-ray-token"),
    ("services", "*"),
    ("serviceaccounts", "fairlead-gateway"),
    ("deployments.apps", "fairlead-gateway"),
    ("poddisruptionbudgets.policy", "*"),
    ("roles.rbac.authorization.k8s.io", "fairlead-gateway"),
    ("rolebindings.rbac.authorization.k8s.io", "fairlead-gateway"),
    ("rayclusters.ray.io", "*"),
)
"""What the operator makes in a namespace, each with its name where that is always the same."""


def test_the_operator_has_exactly_these_rules() -> None:
    mdep, policies = "modeldeployments.fairlead.dev", "networkpolicies.networking.k8s.io"
    assert _role("fairlead-operator") == (
        {(mdep, verb, "*") for verb in ("get", "list", "watch", "patch")}
        | {("modeldeployments/status.fairlead.dev", "patch", "*")}
        | {("controllerrevisions.apps", verb, "*") for verb in ("get", "list", "watch", "create", "patch", "delete")}
        | {(ROUTES, verb, "*") for verb in ("get", "list", "watch", "create", "patch", "delete")}
        | {("events.events.k8s.io", verb, "*") for verb in ("create", "patch")}
        | {("endpointslices.discovery.k8s.io", verb, "*") for verb in ("list", "watch")}
        | {("pods", verb, "*") for verb in ("list", "watch")}
        | {(each, verb, name) for each, name in MADE for verb in MAKES}
        | {(policies, verb, f"fairlead-{each}") for each in ("gateway", "ray") for verb in (*CHANGES, "get")}
        | {(policies, verb, "*") for verb in ("list", "watch")}
    )
    assert _role("fairlead-operator-classes") == (
        {("servingclasses.fairlead.dev", verb, "*") for verb in ("list", "watch")}
        | {("servingclasses/status.fairlead.dev", "patch", "*")}
    )
    assert _role("fairlead-operator-lease") == (
        {("leases.coordination.k8s.io", verb, "fairlead-operator") for verb in ("get", "update")}
        | {("leases.coordination.k8s.io", "create", "*")}
    )


def test_the_operator_may_finish_deletions_anywhere_by_these_rules_alone() -> None:
    assert _role("fairlead-operator-deletion") == (
        {("modeldeployments.fairlead.dev", verb, "*") for verb in ("get", "list", "watch", "patch")}
        | {("modeldeployments/status.fairlead.dev", "patch", "*")}
    )


def test_the_gateway_has_exactly_these_rules() -> None:
    assert _role("fairlead-gateway") == (
        {(ROUTES, verb, "*") for verb in ("list", "watch")}
        | {("endpointslices.discovery.k8s.io", verb, "*") for verb in ("list", "watch")}
    )


def test_people_who_drive_rollouts_may_not_change_the_spec() -> None:
    mdep = "modeldeployments.fairlead.dev"
    assert _role("fairlead-rollouts") == (
        {(mdep, verb, "*") for verb in ("get", "list", "watch")}
        | {("modeldeployments/status.fairlead.dev", verb, "*") for verb in ("get", "patch")}
        | {("controllerrevisions.apps", verb, "*") for verb in ("get", "list")}
    )


# The local cluster binds the operator in the models' namespace alone, here `default`.
MATRIX = [
    (OPERATOR, "yes", "list modeldeployments.fairlead.dev -n default"),
    (OPERATOR, "yes", "watch modeldeployments.fairlead.dev -n default"),
    (OPERATOR, "yes", "patch modeldeployments.fairlead.dev/digits -n default"),
    (OPERATOR, "yes", "patch modeldeployments.fairlead.dev/digits -n default --subresource=status"),
    (OPERATOR, "yes", "create controllerrevisions.apps -n default"),
    (OPERATOR, "yes", "delete controllerrevisions.apps/digits-0123456789 -n default"),
    (OPERATOR, "yes", "list modelroutes.fairlead.dev -n default"),
    (OPERATOR, "yes", "create modelroutes.fairlead.dev -n default"),
    (OPERATOR, "yes", "patch modelroutes.fairlead.dev/digits -n default"),
    (OPERATOR, "yes", "delete modelroutes.fairlead.dev/digits -n default"),
    (OPERATOR, "no", "patch modelroutes.fairlead.dev/digits -n kube-system"),
    (OPERATOR, "no", "deletecollection modelroutes.fairlead.dev -n default"),
    (OPERATOR, "yes", "create events.events.k8s.io -n default"),
    (OPERATOR, "yes", "update leases.coordination.k8s.io/fairlead-operator -n fairlead-system"),
    (OPERATOR, "yes", "create leases.coordination.k8s.io -n fairlead-system"),
    # What the end of a namespace needs; the policy beside it limits the writes.
    (OPERATOR, "yes", "list modeldeployments.fairlead.dev --all-namespaces"),
    (OPERATOR, "yes", "get modeldeployments.fairlead.dev -n kube-system"),
    (OPERATOR, "no", "get controllerrevisions.apps -n kube-system"),
    (OPERATOR, "yes", "get secrets/fairlead-ray-token -n default"),
    (OPERATOR, "yes", "patch deployments.apps/fairlead-gateway -n default"),
    (OPERATOR, "yes", "patch roles.rbac.authorization.k8s.io/fairlead-gateway -n default"),
    (OPERATOR, "yes", "watch servingclasses.fairlead.dev"),
    (OPERATOR, "yes", "patch servingclasses.fairlead.dev/small --subresource=status"),
    (OPERATOR, "no", "patch servingclasses.fairlead.dev/small"),
    (OPERATOR, "no", "get secrets/fairlead-ray-token -n kube-system"),
    (OPERATOR, "no", "get secrets/another -n default"),
    (OPERATOR, "no", "patch deployments.apps/another -n default"),
    (OPERATOR, "no", "patch roles.rbac.authorization.k8s.io/another -n default"),
    (OPERATOR, "no", "create modeldeployments.fairlead.dev -n default"),
    (OPERATOR, "no", "update modeldeployments.fairlead.dev/digits -n default"),
    (OPERATOR, "no", "delete modeldeployments.fairlead.dev/digits -n default"),
    (OPERATOR, "no", "create configmaps -n default"),
    (OPERATOR, "no", "get configmaps/somebody-elses -n default"),
    (OPERATOR, "no", "list configmaps -n default"),
    (OPERATOR, "yes", "watch servingclasses.fairlead.dev"),
    (OPERATOR, "yes", "watch endpointslices.discovery.k8s.io -n default"),
    (OPERATOR, "yes", "list secrets/fairlead-ray-token -n default"),
    (OPERATOR, "no", "list secrets/somebody-elses -n default"),
    (OPERATOR, "no", "list secrets -n default"),
    (OPERATOR, "no", "get secrets -n default"),
    (OPERATOR, "no", "list secrets --all-namespaces"),
    (OPERATOR, "yes", "watch pods -n default"),
    (OPERATOR, "no", "get pods/somebody-elses -n default"),
    (OPERATOR, "no", "delete pods/somebody-elses -n default"),
    (OPERATOR, "no", "list pods -n kube-system"),
    (OPERATOR, "no", "create pods -n default"),
    (OPERATOR, "no", "create pods -n default --subresource=exec"),
    (OPERATOR, "no", "create deployments.apps -n default"),
    (OPERATOR, "no", "create serviceaccounts -n default --subresource=token"),
    (OPERATOR, "no", "get leases.coordination.k8s.io/fairlead-operator -n default"),
    (OPERATOR, "no", "update leases.coordination.k8s.io/another -n fairlead-system"),
    (OPERATOR, "no", "create rolebindings.rbac.authorization.k8s.io -n default"),
    (OPERATOR, "no", "create clusterrolebindings.rbac.authorization.k8s.io"),
    (OPERATOR, "no", "impersonate users"),
    (GATEWAY, "yes", "list modelroutes.fairlead.dev -n default"),
    (GATEWAY, "yes", "watch modelroutes.fairlead.dev -n default"),
    (GATEWAY, "no", "list modelroutes.fairlead.dev -n kube-system"),
    (GATEWAY, "no", "patch modelroutes.fairlead.dev/digits -n default"),
    (GATEWAY, "no", "create modelroutes.fairlead.dev -n default"),
    (GATEWAY, "no", "delete modelroutes.fairlead.dev/digits -n default"),
    (GATEWAY, "yes", "watch endpointslices.discovery.k8s.io -n default"),
    (GATEWAY, "no", "list endpointslices.discovery.k8s.io -n kube-system"),
    (GATEWAY, "no", "list configmaps -n default"),
    (GATEWAY, "no", "get modeldeployments.fairlead.dev -n default"),
    (GATEWAY, "no", "get secrets -n default"),
    (GATEWAY, "no", "get endpoints -n default"),
]


@pytest.fixture(scope="module")
def token_of(kubernetes: cluster.LocalCluster) -> Callable[[str], str]:
    """The kubectl flag that makes a call with a service account's own token."""
    known: dict[str, str] = {}

    def flag(who: str) -> str:
        if who not in known:
            known[who] = f"--kubeconfig={kubernetes.service_account_kubeconfig(*who.split('/'))}"
        return known[who]

    return flag


@pytest.mark.real
@pytest.mark.parametrize(("who", "answer", "what"), [pytest.param(*each, id=" ".join(each)) for each in MATRIX])
def test_the_api_server_answers_who_may_do_what(
    kubernetes: cluster.LocalCluster, token_of: Callable[[str], str], who: str, answer: str, what: str
) -> None:
    done = kubernetes.kubectl(token_of(who), "auth", "can-i", *what.split())
    assert done.stdout.strip() == answer, done.stderr


@pytest.mark.real
@pytest.mark.parametrize(("file", "elsewhere"), [("operator-namespace", "no"), ("operator-cluster", "yes")])
def test_a_binding_holds_where_it_says(kubernetes: cluster.LocalCluster, file: str, elsewhere: str) -> None:
    """Tried with a stand-in for the operator's service account, under which other tests may run at the same time."""
    binding = yaml.safe_load((FILES / f"{file}.yaml").read_text().replace("${NAMESPACE}", "kube-public"))
    stand_in = f"stand-in-for-{file}"
    binding["metadata"]["name"] = binding["subjects"][0]["name"] = stand_in
    applied = kubernetes.kubectl("apply", "-f-", input=json.dumps(binding))
    assert applied.returncode == 0, applied.stderr

    question = ("auth", "can-i", f"--as=system:serviceaccount:fairlead-system:{stand_in}", "watch")
    for namespace, answer in (("kube-public", "yes"), ("kube-system", elsewhere)):
        done = kubernetes.kubectl(*question, "modeldeployments.fairlead.dev", f"--namespace={namespace}")
        assert done.stdout.strip() == answer


@pytest.mark.real
@pytest.mark.parametrize("path", sorted(FILES.glob("*.yaml")), ids=lambda path: path.stem)
def test_a_file_without_its_namespace_filled_in_is_refused(
    kubernetes: cluster.LocalCluster, path: pathlib.Path
) -> None:
    text = path.read_text()
    done = kubernetes.kubectl("apply", "--dry-run=server", "-f-", input=text)
    assert (done.returncode != 0) == ("${NAMESPACE}" in text), done.stderr


PEOPLE = [
    ("view", "yes", "get modeldeployments.fairlead.dev"),
    ("view", "no", "patch modeldeployments.fairlead.dev"),
    ("view", "no", "patch modeldeployments.fairlead.dev --subresource=scale"),
    ("view", "yes", "get modelroutes.fairlead.dev"),
    ("admin", "no", "create servingclasses.fairlead.dev"),
    ("edit", "yes", "create modeldeployments.fairlead.dev"),
    ("edit", "yes", "watch modelroutes.fairlead.dev"),
    ("edit", "no", "create modelroutes.fairlead.dev"),
    ("edit", "no", "update modelroutes.fairlead.dev"),
    ("edit", "no", "patch modelroutes.fairlead.dev"),
    ("edit", "no", "delete modelroutes.fairlead.dev"),
    ("admin", "no", "patch modelroutes.fairlead.dev"),
    ("edit", "yes", "patch modeldeployments.fairlead.dev --subresource=scale"),
    ("edit", "no", "patch modeldeployments.fairlead.dev --subresource=status"),
    ("admin", "yes", "delete modeldeployments.fairlead.dev"),
    ("admin", "no", "update modeldeployments.fairlead.dev --subresource=status"),
]


@pytest.fixture(scope="module")
def aggregated(kubernetes: cluster.LocalCluster) -> None:
    _wait_for_aggregation(kubernetes)


@pytest.mark.real
@pytest.mark.parametrize(("role", "answer", "what"), [pytest.param(*each, id=" ".join(each)) for each in PEOPLE])
def test_people_get_their_rights_by_the_built_in_roles(
    kubernetes: cluster.LocalCluster, aggregated: None, role: str, answer: str, what: str
) -> None:
    binding = f"some-{role}"
    kubernetes.kubectl(
        "create", "rolebinding", binding, f"--clusterrole={role}", f"--user={binding}", "-n", "kube-public"
    )
    done = kubernetes.kubectl("auth", "can-i", f"--as={binding}", "-n", "kube-public", *what.split())
    assert done.stdout.strip() == answer, done.stderr


def _wait_for_aggregation(kubernetes: cluster.LocalCluster) -> None:
    """The controller manager adds the rules to the built-in roles some time after it started."""
    deadline = time.monotonic() + 60
    for role in ("view", "edit", "admin"):
        while "modeldeployments" not in kubernetes.kubectl("get", "clusterrole", role, "-o", "yaml").stdout:
            assert time.monotonic() < deadline, f"the rules were not added to {role}"


@pytest.mark.real
@pytest.mark.parametrize("subresource", ["", "status"])
def test_where_the_operator_is_not_bound_it_writes_nothing_before_the_namespace_ends(
    kubernetes: cluster.LocalCluster, subresource: str
) -> None:
    name, namespace = f"held{subresource}", f"not-bound{subresource}"
    model = manifest_table.good_manifest({"metadata": {"name": name, "finalizers": ["fairlead.dev/serving"]}})
    assert kubernetes.kubectl("create", "namespace", namespace).returncode == 0
    assert kubernetes.kubectl("apply", "-n", namespace, "-f-", input=json.dumps(model)).returncode == 0
    body = {"status": {"replicas": 1}} if subresource else {"metadata": {"finalizers": None}}
    path = f"{kube_api.MODELS.format(namespace=namespace)}/{name}/{subresource}".rstrip("/")
    kubeconfig = kubernetes.service_account_kubeconfig(*OPERATOR.split("/"))
    token = json.loads(kubeconfig.read_text())["users"][0]["user"]["token"]
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/merge-patch+json"}

    # As the operator writes: kubectl reads what it patches first, which the operator may not with a status.
    trust = kube_api.trust(kubeconfig)
    with httpx.Client(base_url=kubernetes.api_url, verify=trust, headers=headers, timeout=60) as client:

        def patch() -> httpx.Response:
            return client.patch(path, content=json.dumps(body))

        until(lambda: "not bound in this namespace" in patch().text, "the policy is in force", deadline_s=400)
        kubernetes.kubectl("delete", "namespace", namespace, "--wait=false")
        until(lambda: patch().is_success, "the operator may end it", deadline_s=400)
    kubernetes.kubectl(
        "patch", "mdep", name, "-n", namespace, "--type=merge", "-p", '{"metadata": {"finalizers": null}}'
    )
