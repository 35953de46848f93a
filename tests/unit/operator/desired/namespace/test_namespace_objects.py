"""What a namespace gets, as golden files: each change of one is a roll-out at every user."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.support import serving_classes

from fairlead_operator.desired import ray_cluster
from fairlead_operator.desired.namespace import gateway, network, objects
from fairlead_operator.state import infrastructure
from fairlead_operator.state.gateways import SILENT_MAX_S
from fairlead_operator.state.infrastructure import ObjectKey, WantedObject

FOLDER = Path(__file__).parent / "golden"
CALLERS = network.Callers(operator="fairlead-system", prometheus="monitoring")
OPERATOR = {
    "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "fairlead-system"}},
    "podSelector": {"matchLabels": {"app.kubernetes.io/name": "fairlead", "app.kubernetes.io/component": "operator"}},
}
FULL = {
    "head": {"cpu": 1, "memory": "2Gi", "priorityClassName": "serving"},
    "worker": {
        "cpu": "1500m",
        "memory": "4Gi",
        "nodeSelector": {"pool": "serving"},
        "tolerations": [{"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}],
    },
    "gateway": {"image": serving_classes.GATEWAY_IMAGE, "replicas": 3, "serviceType": "LoadBalancer"},
    "gcsFaultTolerance": {"redisAddress": "redis.databases.svc:6379", "redisPassword": {"name": "ray-redis"}},
    "imagePullSecrets": ["registry-credentials"],
}


def compose(**changes: Any) -> tuple[WantedObject, ...]:
    class_ = serving_classes.make(**changes)
    return objects.compose("models", gateway_class=class_, clusters={"small-0123456789": 3}, callers=CALLERS)


def digests(wanted: tuple[WantedObject, ...]) -> dict[ObjectKey, str]:
    return {each.key: each.digest for each in wanted}


@pytest.mark.parametrize("name", ["objects", "raycluster"])
def test_the_objects_are_those_of_the_golden_files(name: str) -> None:
    made = (
        [dict(each.body) for each in compose(**FULL)]
        if name == "objects"
        else [dict(ray_cluster.build(serving_classes.make(**FULL), namespace="models").body)]
    )
    path = FOLDER / f"{name}.yaml"
    if os.environ.get("FAIRLEAD_REFRESH") == "1":
        path.write_text(yaml.safe_dump_all(made, sort_keys=False, width=120))
    assert made == list(yaml.safe_load_all(path.read_text()))


def test_every_object_carries_the_labels_by_which_it_is_found_and_removed() -> None:
    for each in compose():
        assert each.body["metadata"]["labels"].items() >= infrastructure.product_labels().items()
        assert each.body["metadata"]["namespace"] == "models"
    secret = objects.token_secret("models", "a" * 64)
    assert secret["metadata"]["labels"] == infrastructure.product_labels()
    assert secret["immutable"]


def test_without_a_namespace_of_prometheus_only_the_operator_reads_the_gateway_and_the_dashboard() -> None:
    callers = network.Callers(operator="fairlead-system")
    for policy, port in ((network.gateway_policy(callers), 8001), (network.ray_policy(callers), 8265)):
        with_source = [rule for rule in policy["spec"]["ingress"] if "ports" in rule and "from" in rule]
        rules = [rule for rule in with_source if rule["ports"][0]["port"] != gateway.INTERNAL_PORT]
        assert [[each["port"] for each in rule["ports"]] for rule in rules] == [[port]]
        (source,) = rules[0]["from"]
        assert source == OPERATOR
        for_everybody = [rule for rule in policy["spec"]["ingress"] if not rule.get("from")]
        assert all([each["port"] for each in rule["ports"]] == [gateway.DATA_PORT] for rule in for_everybody)


def test_a_change_of_the_gateway_changes_what_it_is_about_and_nothing_else() -> None:
    before = digests(compose())
    after = digests(compose(gateway={"image": serving_classes.GATEWAY_IMAGE, "serviceType": "NodePort"}))
    assert [key for key in before if before[key] != after[key]] == [
        ObjectKey(infrastructure.SERVICE, "fairlead-gateway")
    ]


def test_the_origins_of_web_pages_are_flags_of_the_gateway() -> None:
    origins = ["https://app.example.org", "http://localhost:3000"]
    made = compose(gateway={"image": serving_classes.GATEWAY_IMAGE, "allowedOrigins": origins})
    (deployment,) = (each.body for each in made if each.key.kind is infrastructure.DEPLOYMENT)
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert container["args"][-2:] == [f"--allow-origin={origin}" for origin in origins]


def test_the_operator_and_the_replicas_of_the_namespace_may_use_the_internal_port() -> None:
    policy = network.gateway_policy(network.Callers(operator="fairlead-system", prometheus="monitoring"))
    (rule,) = (rule for rule in policy["spec"]["ingress"] if rule["ports"][0]["port"] == gateway.INTERNAL_PORT)
    operator, replicas = rule["from"]
    assert operator == OPERATOR
    ray = network.ray_policy(network.Callers(operator="fairlead-system"))["spec"]["podSelector"]
    assert replicas == {"podSelector": ray}, "without a namespaceSelector: pods of this namespace alone"


def test_with_tls_the_pods_mount_the_secret_and_clients_use_another_port() -> None:
    made = compose(gateway={"image": serving_classes.GATEWAY_IMAGE, "tls": {"secretName": "front"}})
    found = {(each.key.kind, each.key.name): each.body["spec"] for each in made if "spec" in each.body}
    pod = found[infrastructure.DEPLOYMENT, "fairlead-gateway"]["template"]["spec"]
    (container,) = pod["containers"]
    assert {"name": "tls", "secret": {"secretName": "front", "defaultMode": 0o440}} in pod["volumes"]
    (mount,) = (each for each in container["volumeMounts"] if each["name"] == "tls")
    assert mount == {"name": "tls", "mountPath": "/etc/fairlead/tls", "readOnly": True}
    flags = {"--tls-certificate=/etc/fairlead/tls/tls.crt", "--tls-key=/etc/fairlead/tls/tls.key"}
    assert flags <= set(container["args"])
    (port,) = found[infrastructure.SERVICE, "fairlead-gateway"]["ports"]
    assert (port["name"], port["port"]) == ("https", 443)
    assert port["targetPort"] in {each["name"] for each in container["ports"]}
    (plain,) = (each.body["spec"] for each in compose() if each.key.kind is infrastructure.DEPLOYMENT)
    (before,) = plain["template"]["spec"]["containers"]
    assert port["targetPort"] not in {each["name"] for each in before["ports"]}, "no pod without TLS is behind it"


def test_with_tokens_the_pods_mount_the_config_map_and_the_role_reads_none() -> None:
    jwt = {
        "configMapName": "issuer-keys",
        "issuer": "https://issuer.example.org",
        "audiences": ["models", "other"],
        "algorithms": ["ES256"],
        "requiredClaims": [{"name": "scope", "values": ["models.read", "models.admin"]}],
    }
    made = compose(gateway={"image": serving_classes.GATEWAY_IMAGE, "authentication": {"jwt": jwt}})
    (pod,) = (each.body["spec"]["template"]["spec"] for each in made if each.key.kind is infrastructure.DEPLOYMENT)
    (container,) = pod["containers"]
    items = [{"key": "jwks.json", "path": "jwks.json"}]
    assert {"name": "jwks", "configMap": {"name": "issuer-keys", "items": items, "defaultMode": 0o440}} in pod[
        "volumes"
    ]
    assert {"name": "jwks", "mountPath": "/etc/fairlead/jwks", "readOnly": True} in container["volumeMounts"]
    assert [flag for flag in container["args"] if flag.startswith(("--jw", "--api"))] == [
        "--jwks=/etc/fairlead/jwks/jwks.json",
        "--jwt-issuer=https://issuer.example.org",
        "--jwt-audience=models",
        "--jwt-audience=other",
        "--jwt-algorithm=ES256",
        "--jwt-clock-skew=60",
        "--jwt-claim=scope models.read models.admin",
    ]
    (role,) = (each.body for each in made if each.key.kind is infrastructure.ROLE)
    assert not any("configmaps" in rule["resources"] for rule in role["rules"])


def test_with_a_collector_the_pods_send_spans_and_start_without_its_authorities() -> None:
    def find(**given: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        made = compose(**given)
        (pod,) = (each.body["spec"]["template"]["spec"] for each in made if each.key.kind is infrastructure.DEPLOYMENT)
        return pod, pod["containers"][0]

    pod, container = find(tracing={"endpoint": "https://collector:4318", "caConfigMapName": "ca"})
    folder = "/etc/fairlead/collector-ca"
    assert [flag for flag in container["args"] if flag.startswith("--traces")] == [
        "--traces-endpoint=https://collector:4318",
        "--traces-sample-percent=1",
        f"--traces-ca-file={folder}/ca.crt",
    ]
    source = {"name": "ca", "items": [{"key": "ca.crt", "path": "ca.crt"}], "optional": True, "defaultMode": 0o440}
    assert {"name": "collector-ca", "configMap": source} in pod["volumes"]
    assert {"name": "collector-ca", "mountPath": folder, "readOnly": True} in container["volumeMounts"]
    plain, container = find()
    assert "trace" not in str(container["args"])
    assert "collector" not in str(plain)


def test_with_api_keys_the_pods_mount_the_secret_and_the_role_reads_none() -> None:
    chosen = {"image": serving_classes.GATEWAY_IMAGE, "authentication": {"apiKeys": {"secretName": "clients"}}}
    made = compose(gateway=chosen)
    (pod,) = (each.body["spec"]["template"]["spec"] for each in made if each.key.kind is infrastructure.DEPLOYMENT)
    (container,) = pod["containers"]
    assert {"name": "api-keys", "secret": {"secretName": "clients", "defaultMode": 0o440}} in pod["volumes"]
    mount = {"name": "api-keys", "mountPath": "/etc/fairlead/api-keys", "readOnly": True}
    assert mount in container["volumeMounts"]
    assert f"--api-keys={mount['mountPath']}" in container["args"]
    (role,) = (each.body for each in made if each.key.kind is infrastructure.ROLE)
    assert not any("secrets" in rule["resources"] for rule in role["rules"])


@pytest.mark.parametrize(
    ("limit", "flag"),
    [
        ({"requestsPerSecond": 5}, "--rate-limit=5:5"),
        ({"requestsPerSecond": 5, "burst": 300}, "--rate-limit=5:300"),
    ],
)
def test_the_rate_limit_is_a_flag_of_the_gateway(limit: dict[str, int], flag: str) -> None:
    made = compose(gateway={"image": serving_classes.GATEWAY_IMAGE, "rateLimit": limit})
    (deployment,) = (each.body for each in made if each.key.kind is infrastructure.DEPLOYMENT)
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert flag in container["args"]


@pytest.mark.parametrize(("mode", "has_flag"), [("Json", True), ("Off", False)])
def test_the_access_log_is_a_flag_of_the_gateway(mode: str, has_flag: bool) -> None:
    made = compose(gateway={"image": serving_classes.GATEWAY_IMAGE, "accessLog": mode})
    (deployment,) = (each.body for each in made if each.key.kind is infrastructure.DEPLOYMENT)
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert ("--access-log" in container["args"]) == has_flag
    assert (digests(made) == digests(compose())) == (not has_flag)


def test_the_ray_image_is_no_part_of_the_gateway() -> None:
    assert digests(compose()) == digests(compose(image=serving_classes.GATEWAY_IMAGE, rayVersion="2.61.0"))


def test_the_gateway_ends_within_its_grace_period() -> None:
    (deployment,) = (each.body for each in compose() if each.key.kind is infrastructure.DEPLOYMENT)
    pod = deployment["spec"]["template"]["spec"]
    assert pod["terminationGracePeriodSeconds"] > gateway.STOP_DELAY_S + gateway.STOP_GRACE_S


def test_a_gateway_that_answers_nobody_has_ended_before_it_counts_as_gone() -> None:
    (deployment,) = (each.body for each in compose() if each.key.kind is infrastructure.DEPLOYMENT)
    pod = deployment["spec"]["template"]["spec"]
    (probe,) = (container["livenessProbe"] for container in pod["containers"])
    found_s = probe["periodSeconds"] * probe["failureThreshold"] + probe["timeoutSeconds"]
    assert found_s + pod["terminationGracePeriodSeconds"] < SILENT_MAX_S


def test_a_gateway_with_everything_passes_the_pod_security_level_restricted() -> None:
    """The API server decides it in the integration tests; here is what it looks at."""
    (deployment,) = (each.body for each in compose() if each.key.kind is infrastructure.DEPLOYMENT)
    pod = deployment["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    security = pod["containers"][0]["securityContext"]
    assert security == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


@pytest.mark.parametrize(("workers", "stay"), [(1, 0), (2, 1), (10, 9)])
def test_one_worker_of_a_ray_cluster_may_be_evicted_at_a_time(workers: int, stay: int) -> None:
    """RayClusters have no `scale` subresource, so a budget with `maxUnavailable` would allow no eviction at all."""
    budget = objects.worker_budget("small-0123456789", workers=workers)["spec"]
    assert budget["minAvailable"] == stay
    assert "maxUnavailable" not in budget
    (service,) = (each.body for each in compose() if each.key.name == "small-0123456789-nodes")
    assert budget["selector"]["matchLabels"] == service["spec"]["selector"], "the pods that run replicas"


def test_a_ray_cluster_whose_workers_are_not_known_gets_no_budget() -> None:
    made = objects.compose(
        "models", gateway_class=serving_classes.make(), clusters={"small-0123456789": None}, callers=CALLERS
    )
    budgets = [each.key.name for each in made if each.key.kind is infrastructure.DISRUPTION_BUDGET]
    assert budgets == ["fairlead-gateway"]
