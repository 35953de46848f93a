"""A serving class becomes a RayCluster whose name stands for all that its pods are made of."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from tests.support import serving_classes

from fairlead_operator.api import names
from fairlead_operator.desired import node_removal, ray_cluster
from fairlead_operator.state.infrastructure import WantedCluster
from fairlead_operator.state.serving_class import HeadStorage, PodSize
from fairlead_runtime import config

SMALL = serving_classes.make()
FIXED = serving_classes.make(workers={"min": 2, "max": 2})


def pods(built: WantedCluster) -> list[dict[str, Any]]:
    groups = [built.body["spec"]["headGroupSpec"], *built.body["spec"]["workerGroupSpecs"]]
    return [group["template"]["spec"] for group in groups]


def test_equal_classes_have_one_cluster_and_each_change_has_another() -> None:
    first = ray_cluster.build(SMALL, namespace="models")
    assert ray_cluster.build(SMALL, namespace="models") == first
    worker = dataclasses.replace(SMALL.worker, size=PodSize(cpu_millicores=4000, memory_bytes=2**32))
    changes: list[dict[str, Any]] = [
        {"image": "another@sha256:" + "1" * 64},
        {"ray_version": "2.61.0"},
        {"worker": worker},
        {"head": dataclasses.replace(SMALL.head, node_selector={"pool": "serving"})},
        {"head_storage": HeadStorage(redis_address="redis:6379")},
        {"worker": dataclasses.replace(SMALL.worker, tolerations=({"key": "gpu", "operator": "Exists"},))},
    ]
    found = {ray_cluster.cluster_name(dataclasses.replace(SMALL, **each), namespace="models") for each in changes}
    assert len({first.name, *found}) == 1 + len(changes)


def test_the_bounds_of_the_workers_and_the_gateway_are_no_part_of_the_name() -> None:
    wider = dataclasses.replace(
        SMALL, workers_min=2, workers_max=20, gateway=dataclasses.replace(SMALL.gateway, replicas=9)
    )
    before, after = (ray_cluster.build(each, namespace="models") for each in (SMALL, wider))
    assert after.name == before.name
    assert (after.bounds.least, after.bounds.most) == (2, 20)
    (group,) = after.body["spec"]["workerGroupSpecs"]
    assert (group["minReplicas"], group["maxReplicas"]) == (2, 20)


def test_the_number_of_workers_is_left_to_the_autoscaler() -> None:
    for built in (ray_cluster.build(SMALL, namespace="models"), ray_cluster.build(FIXED, namespace="models")):
        (group,) = built.body["spec"]["workerGroupSpecs"]
        assert not {"replicas", "scaleStrategy"} & group.keys()


def test_a_name_has_room_for_what_kuberay_adds() -> None:
    longest = dataclasses.replace(SMALL, name="c" * 39)
    assert len(ray_cluster.cluster_name(longest, namespace="models")) == names.RAY_CLUSTER_MAX
    with pytest.raises(ValueError, match="longer than 39"):
        ray_cluster.build(dataclasses.replace(SMALL, name="c" * 40), namespace="models")


def test_ray_offers_whole_cores() -> None:
    odd = dataclasses.replace(SMALL.worker, size=PodSize(cpu_millicores=1001, memory_bytes=2**32))
    built = ray_cluster.build(dataclasses.replace(SMALL, worker=odd), namespace="models")
    assert built.body["spec"]["workerGroupSpecs"][0]["rayStartParams"]["num-cpus"] == "2"


def test_no_replica_runs_on_the_head() -> None:
    built = ray_cluster.build(SMALL, namespace="models")
    assert built.body["spec"]["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    assert built.body["spec"]["workerGroupSpecs"][0]["rayStartParams"]["num-cpus"] == "2"


def test_replicas_learn_what_they_need_from_the_environment() -> None:
    built = ray_cluster.build(SMALL, namespace="models")
    name = built.name
    for pod in pods(built):
        given = {each["name"]: each.get("value") for each in pod["containers"][0]["env"]}
        assert given["FAIRLEAD_CLUSTER"] == f"models/{name}"
        assert given["FAIRLEAD_REPLICA_HOST"] == "$(POD_IP)"
        assert given["FAIRLEAD_NODE_DIRECTORY"] == f"$(POD_IP):{ray_cluster.DIRECTORY_PORT}"
        mounted = [each["mountPath"] for each in pod["containers"][0]["volumeMounts"]]
        assert any(str(given["FAIRLEAD_NODE_FOLDER"]).startswith(f"{each}/") for each in mounted)


def test_a_node_autoscaler_moves_workers_and_leaves_the_head() -> None:
    """A worker drains; the end of the head costs requests."""
    spec = ray_cluster.build(SMALL, namespace="models").body["spec"]
    head, workers = spec["headGroupSpec"]["template"], spec["workerGroupSpecs"][0]["template"]
    assert head["metadata"]["annotations"] == {
        "cluster-autoscaler.kubernetes.io/safe-to-evict": "false",
        "karpenter.sh/do-not-disrupt": "true",
    }
    assert workers["metadata"]["annotations"] == {"cluster-autoscaler.kubernetes.io/safe-to-evict": "true"}
    stored = serving_classes.make(gcsFaultTolerance={"redisAddress": "redis:6379"})
    head = ray_cluster.build(stored, namespace="models").body["spec"]["headGroupSpec"]["template"]
    assert head["metadata"]["annotations"] == workers["metadata"]["annotations"]


def test_what_node_autoscalers_may_do_is_no_part_of_the_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """It changes nothing in a pod, so no cluster is replaced for it."""
    before = ray_cluster.build(SMALL, namespace="models")
    monkeypatch.setattr(node_removal, "STAYS", {"another": "of the head"})
    monkeypatch.setattr(node_removal, "MOVES", {"another": "of workers"})
    after = ray_cluster.build(SMALL, namespace="models")
    assert after.body != before.body
    assert after.name == before.name


def test_pods_fit_the_pod_security_level_restricted() -> None:
    """The API server decides it in the node's tests; here is what it looks at."""
    for pod in pods(ray_cluster.build(SMALL, namespace="models")):
        assert pod["securityContext"]["runAsNonRoot"]
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        security = pod["containers"][0]["securityContext"]
        assert security["capabilities"] == {"drop": ["ALL"]}
        assert not security["allowPrivilegeEscalation"]
        assert security["readOnlyRootFilesystem"]


def test_every_port_s_name_is_one_that_kubernetes_takes() -> None:
    for pod in pods(ray_cluster.build(SMALL, namespace="models")):
        names = [each["name"] for each in pod["containers"][0]["ports"]]
        assert len(set(names)) == len(names)
        assert all(len(each) <= 15 for each in names)


def test_the_platform_s_choices_reach_every_pod() -> None:
    where = {"nodeSelector": {"pool": "serving"}, "priorityClassName": "serving", "cpu": 1, "memory": "2Gi"}
    chosen = serving_classes.make(imagePullSecrets=["pull"], head=where, worker=where)
    for pod in pods(ray_cluster.build(chosen, namespace="models")):
        assert pod["imagePullSecrets"] == [{"name": "pull"}]
        assert pod["nodeSelector"] == {"pool": "serving"}
        assert pod["priorityClassName"] == "serving"


def test_the_state_of_the_head_is_in_redis_only_where_the_class_says_so() -> None:
    """Then a RayCluster may not wait for KubeRay's cleanup for ever: a namespace that is deleted takes no Job."""
    plain = ray_cluster.build(SMALL, namespace="models").body
    assert "gcsFaultToleranceOptions" not in plain["spec"]
    assert "annotations" not in plain["metadata"]
    kept = serving_classes.make(gcsFaultTolerance={"redisAddress": "redis:6379"})
    body = ray_cluster.build(kept, namespace="models").body
    assert body["spec"]["gcsFaultToleranceOptions"] == {"redisAddress": "redis:6379"}
    assert body["metadata"]["annotations"] == {"ray.io/gcs-ft-deletion-timeout": "120"}
    secret = {"name": "redis", "key": "word"}
    closed = serving_classes.make(gcsFaultTolerance={"redisAddress": "redis:6379", "redisPassword": secret})
    options = ray_cluster.build(closed, namespace="models").body["spec"]["gcsFaultToleranceOptions"]
    assert options["redisPassword"] == {"valueFrom": {"secretKeyRef": secret}}


def test_the_platform_s_rules_for_sources_reach_the_workers_alone_and_secrets_stay_with_the_kubelet() -> None:
    given = {
        "allowedSchemes": ["https", "s3"],
        "allowedHosts": ["models.example.org", "*.example.net"],
        "allowedNetworks": ["10.0.0.0/8"],
        "credentials": [{"secretName": "reader", "hosts": ["models.example.org", "*.example.net"]}],
        "volumeClaimNames": ["shared-models"],
        "httpsProxy": "http://proxy:3128",
        "noProxy": [".svc"],
        "allowedOperations": ["PrintV2", "Text>Split"],
    }
    head, worker = pods(ray_cluster.build(serving_classes.make(sources=given), namespace="models"))
    (container,) = worker["containers"]
    variables = {each["name"]: each.get("value") for each in container["env"]}
    assert variables["FAIRLEAD_SOURCE_SCHEMES"] == "https,s3"
    assert variables["FAIRLEAD_SOURCE_HOSTS"] == "models.example.org,*.example.net"
    assert variables["FAIRLEAD_SOURCE_CREDENTIALS"] == "reader=models.example.org,*.example.net"
    assert variables["FAIRLEAD_SOURCE_NETWORKS"] == "10.0.0.0/8"
    assert (variables["HTTPS_PROXY"], variables["NO_PROXY"]) == ("http://proxy:3128", ".svc")
    assert variables["FAIRLEAD_ALLOWED_OPERATIONS"] == "PrintV2,Text>Split"
    (secret,) = (each for each in worker["volumes"] if "secret" in each)
    # Optional: a class is for many namespaces, and not each of them has every Secret.
    assert secret["secret"] == {"secretName": "reader", "optional": True, "defaultMode": 0o440}
    (mount,) = (each for each in container["volumeMounts"] if each["name"] == secret["name"])
    assert mount["mountPath"] == f"{variables['FAIRLEAD_SOURCE_SECRETS_DIR']}/reader"
    assert mount["readOnly"]
    (claim,) = (each for each in worker["volumes"] if "persistentVolumeClaim" in each)
    assert claim["persistentVolumeClaim"] == {"claimName": "shared-models", "readOnly": True}
    (mount,) = (each for each in container["volumeMounts"] if each["name"] == claim["name"])
    assert mount["mountPath"] == f"{variables['FAIRLEAD_SOURCE_CLAIMS_DIR']}/shared-models"
    assert mount["readOnly"]
    assert "reader" not in str(head)


def test_a_class_without_rules_for_sources_keeps_its_cluster() -> None:
    assert ray_cluster.build(serving_classes.make(sources={}), namespace="models") == ray_cluster.build(
        serving_classes.make(), namespace="models"
    )


def test_only_workers_get_the_variables_of_the_collector() -> None:
    def names(cluster: Any) -> list[set[str]]:
        return [{each["name"] for each in pod["containers"][0]["env"]} for pod in pods(cluster)]

    plain = ray_cluster.build(SMALL, namespace="models")
    assert not any(name.startswith("FAIRLEAD_TRACES") for each in names(plain) for name in each)
    given = {"endpoint": "http://collector:4318", "samplePercent": 0.5}
    traced = ray_cluster.build(serving_classes.make(tracing=given), namespace="models")
    head, worker = names(traced)
    added = {"FAIRLEAD_TRACES_ENDPOINT", "FAIRLEAD_TRACES_SAMPLE_PERCENT"}
    assert worker - head >= added
    (container,) = pods(traced)[1]["containers"]
    variables = {each["name"]: each.get("value") for each in container["env"]}
    assert [variables[each] for each in sorted(added)] == ["http://collector:4318", "0.5"]
    # Replicas read it when they start, so a change is another Ray cluster.
    assert traced.body["metadata"]["name"] != plain.body["metadata"]["name"]


def test_only_workers_get_the_authorities_of_a_collector() -> None:
    given = {"endpoint": "https://collector:4318"}
    plain = ray_cluster.build(serving_classes.make(tracing=given), namespace="models")
    assert "collector-ca" not in str(plain.body)
    trusted = ray_cluster.build(serving_classes.make(tracing={**given, "caConfigMapName": "ca"}), namespace="models")
    head, worker = pods(trusted)
    assert "collector-ca" not in str(head)
    # A namespace without the ConfigMap has workers all the same.
    source = {"name": "ca", "items": [{"key": "ca.crt", "path": "ca.crt"}], "optional": True, "defaultMode": 0o440}
    assert {"name": "collector-ca", "configMap": source} in worker["volumes"]
    (container,) = worker["containers"]
    folder = "/etc/fairlead/collector-ca"
    assert {"name": "collector-ca", "mountPath": folder, "readOnly": True} in container["volumeMounts"]
    assert {"name": "FAIRLEAD_TRACES_CA_FILE", "value": f"{folder}/ca.crt"} in container["env"]
    assert trusted.body["metadata"]["name"] != plain.body["metadata"]["name"]


def test_only_workers_get_the_variables_of_payload_sinks() -> None:
    plain = ray_cluster.build(SMALL, namespace="models")
    assert "FAIRLEAD_PAYLOAD_SINK" not in str(plain.body)
    given = {"allowedHosts": ["events.example.org", "*.shop.svc"], "allowedNetworks": ["10.96.0.0/12"]}
    allowed = ray_cluster.build(serving_classes.make(payloadSinks=given), namespace="models")
    head, worker = pods(allowed)
    variables = {each["name"]: each.get("value") for each in worker["containers"][0]["env"]}
    assert variables["FAIRLEAD_PAYLOAD_SINK_HOSTS"] == "events.example.org,*.shop.svc"
    assert variables["FAIRLEAD_PAYLOAD_SINK_NETWORKS"] == "10.96.0.0/12"
    assert "FAIRLEAD_PAYLOAD_SINK" not in str(head)
    # Replicas read it when the log is turned on, so a change is another Ray cluster.
    assert allowed.body["metadata"]["name"] != plain.body["metadata"]["name"]


def test_secrets_of_sinks_are_mounted_once_and_stay_with_the_kubelet() -> None:
    of_sinks = [{"secretName": name, "hosts": ["events.example.org"]} for name in ("writer", "reader")]
    sinks = {"allowedHosts": ["events.example.org"], "credentials": of_sinks}
    of_sources = [{"secretName": "reader", "hosts": ["models.example.org"]}]
    both = ray_cluster.build(
        serving_classes.make(payloadSinks=sinks, sources={"credentials": of_sources}), namespace="models"
    )
    head, worker = pods(both)
    (container,) = worker["containers"]
    variables = {each["name"]: each.get("value") for each in container["env"]}
    assert variables["FAIRLEAD_PAYLOAD_SINK_CREDENTIALS"] == "writer=events.example.org;reader=events.example.org"
    assert variables["FAIRLEAD_SOURCE_CREDENTIALS"] == "reader=models.example.org", "a source never gets the sink's"
    mounted = [each["secret"]["secretName"] for each in worker["volumes"] if "secret" in each]
    assert mounted == ["reader", "writer"]
    folder = variables["FAIRLEAD_SOURCE_SECRETS_DIR"]
    paths = [each["mountPath"] for each in container["volumeMounts"] if each["mountPath"].startswith(folder)]
    assert paths == [f"{folder}/reader", f"{folder}/writer"]
    assert "writer" not in str(head)
    alone = ray_cluster.build(serving_classes.make(payloadSinks=sinks), namespace="models")
    variables = {each["name"]: each.get("value") for each in pods(alone)[1]["containers"][0]["env"]}
    assert variables["FAIRLEAD_SOURCE_SECRETS_DIR"] == folder
    assert "FAIRLEAD_SOURCE_CREDENTIALS" not in variables


def test_the_default_share_of_spans_written_out_keeps_the_cluster() -> None:
    def names(**given: float) -> object:
        class_ = serving_classes.make(tracing={"endpoint": "http://collector:4318", **given})
        return ray_cluster.build(class_, namespace="models").body["metadata"]["name"]

    assert names() == names(samplePercent=1) == names(samplePercent=1.0)
    assert names() != names(samplePercent=1.5)


@pytest.mark.parametrize("value", [0, 1, 100, 0.5, 0.00001, 1e-9, 33.333333333, 99.99999])
def test_a_share_of_spans_is_read_as_it_was_written(value: float, monkeypatch: pytest.MonkeyPatch) -> None:
    class_ = serving_classes.make(tracing={"endpoint": "http://collector:4318", "samplePercent": value})
    (container,) = pods(ray_cluster.build(class_, namespace="models"))[1]["containers"]
    variables = {each["name"]: each.get("value") for each in container["env"]}
    monkeypatch.setenv("FAIRLEAD_TRACES_SAMPLE_PERCENT", variables["FAIRLEAD_TRACES_SAMPLE_PERCENT"])
    assert config.environment().traces_sample_percent == value
