"""Which ServingClasses the real API server takes, and what it says of the objects that are made from one."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import yaml
from tests.support import dry_runs, serving_classes

from fairlead_cli.local import cluster
from fairlead_operator.desired import ray_cluster
from fairlead_operator.desired.namespace import network, objects
from fairlead_operator.state import infrastructure

pytestmark = pytest.mark.real

PODS: dict[str, Any] = {"cpu": 1, "memory": "1Gi"}
JWT: dict[str, Any] = {"configMapName": "issuer-keys", "issuer": "https://issuer.example.org", "audiences": ["models"]}


def tolerating(**toleration: Any) -> dict[str, Any]:
    return {"worker": {**PODS, "tolerations": [toleration]}}


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "more workers at least than at most": ({"workers": {"min": 3, "max": 2}}, "must not be greater than"),
    "a time without replicas for a fixed number of workers": (
        {"workers": {"min": 2, "max": 2, "idleSeconds": 60}},
        "because no worker is removed then",
    ),
    "no time without replicas": ({"workers": {"min": 1, "max": 2, "idleSeconds": 0}}, "greater than or equal to 1"),
    "no worker": ({"workers": {"min": 0, "max": 2}}, "greater than or equal to 1"),
    "a Ray without tokens": ({"rayVersion": "2.51.9"}, "2.52.0 or later"),
    "half a version": ({"rayVersion": "2.60"}, "as in 2.60.0"),
    "an image with a space": ({"image": "a b"}, "must be the name of an image"),
    "no gateway": ({"gateway": {}}, "spec.gateway.image"),
    "an unknown Service type": ({"gateway": {"image": "a", "serviceType": "Other"}}, "Unsupported value"),
    "an origin with a path": ({"gateway": {"image": "a", "allowedOrigins": ["https://a.org/"]}}, "as in https://app."),
    "an origin with the port of https": (
        {"gateway": {"image": "a", "allowedOrigins": ["https://a.org:443"]}},
        "must not have the default port",
    ),
    "an origin beside every one": (
        {"gateway": {"image": "a", "allowedOrigins": ["*", "https://a.org"]}},
        "must hold no other origin beside *",
    ),
    "TLS without a certificate": ({"gateway": {"image": "a", "tls": {}}}, "spec.gateway.tls.secretName: Required"),
    "a Secret that is none": (
        {"gateway": {"image": "a", "tls": {"secretName": "A B"}}},
        "must be the name of a Secret",
    ),
    "authentication by nothing": (
        {"gateway": {"image": "a", "authentication": {}}},
        "spec.gateway.authentication: Invalid value: must have apiKeys, jwt or both",
    ),
    "tokens of nobody": (
        {"gateway": {"image": "a", "authentication": {"jwt": {"configMapName": "keys", "audiences": ["a"]}}}},
        "spec.gateway.authentication.jwt.issuer: Required",
    ),
    "tokens for nobody": (
        {"gateway": {"image": "a", "authentication": {"jwt": {**JWT, "audiences": []}}}},
        "spec.gateway.authentication.jwt.audiences",
    ),
    "an issuer with a quotation mark": (
        {"gateway": {"image": "a", "authentication": {"jwt": {**JWT, "issuer": "it's"}}}},
        "must be letters, digits and characters of",
    ),
    "tokens with a secret of both sides": (
        {"gateway": {"image": "a", "authentication": {"jwt": {**JWT, "algorithms": ["HS256"]}}}},
        'Unsupported value: "HS256"',
    ),
    "clocks that differ by an hour": (
        {"gateway": {"image": "a", "authentication": {"jwt": {**JWT, "clockSkewSeconds": 3600}}}},
        "less than or equal to 300",
    ),
    "a claim without a value": (
        {
            "gateway": {
                "image": "a",
                "authentication": {"jwt": {**JWT, "requiredClaims": [{"name": "a", "values": []}]}},
            }
        },
        "spec.gateway.authentication.jwt.requiredClaims[0].values",
    ),
    "API keys of nothing": (
        {"gateway": {"image": "a", "authentication": {"apiKeys": {}}}},
        "spec.gateway.authentication.apiKeys.secretName: Required",
    ),
    "no request": (
        {"gateway": {"image": "a", "rateLimit": {"requestsPerSecond": 0}}},
        "greater than or equal to 1",
    ),
    "a burst alone": (
        {"gateway": {"image": "a", "rateLimit": {"burst": 1}}},
        "spec.gateway.rateLimit.requestsPerSecond: Required",
    ),
    "a burst that is too small": (
        {"gateway": {"image": "a", "rateLimit": {"requestsPerSecond": 100, "burst": 9}}},
        "spec.gateway.rateLimit.burst: Invalid value: must be at least a tenth of requestsPerSecond",
    ),
    "a burst that is too large": (
        {"gateway": {"image": "a", "rateLimit": {"requestsPerSecond": 1, "burst": 61}}},
        "must be at most 60 times requestsPerSecond",
    ),
    "a toleration of every key with one value": (tolerating(value="a"), "spec.worker.tolerations[0].key: "),
    "a toleration of an empty key": (tolerating(key="", operator="Equal"), "must be set, unless operator is Exists"),
    "a toleration of every value with one": (
        tolerating(key="a", operator="Exists", value="b"),
        "must not be set if operator is Exists",
    ),
    "seconds for a taint that moves no pod": (
        tolerating(key="a", effect="NoSchedule", tolerationSeconds=5),
        "requires effect: NoExecute",
    ),
    "seconds for every effect": (tolerating(key="a", tolerationSeconds=5), "requires effect: NoExecute"),
    "a head without a processor": ({"head": {**PODS, "cpu": "99m"}}, "spec.head.cpu: Invalid value"),
    "a worker without a processor": ({"worker": {**PODS, "cpu": "0.05"}}, "must be at least 100m"),
    "a head in which Ray can't start": ({"head": {**PODS, "memory": "511Mi"}}, "must be at least 512Mi"),
    "bytes in which Ray can't start": ({"worker": {**PODS, "memory": 500000000}}, "must be at least 512Mi"),
    "no quantity": ({"worker": {**PODS, "memory": "much"}}, "such as 512Mi"),
    "a Redis without a port": ({"gcsFaultTolerance": {"redisAddress": "redis"}}, "as in redis.databases.svc:6379"),
    "a port that is none": ({"gcsFaultTolerance": {"redisAddress": "redis:65536"}}, "must be HOST:PORT"),
    "a password in the address": ({"gcsFaultTolerance": {"redisAddress": "redis://:a@b:1"}}, "without a user or"),
    "no Redis": ({"gcsFaultTolerance": {"redisPassword": {"name": "a"}}}, "spec.gcsFaultTolerance.redisAddress"),
    "sinks without a host": ({"payloadSinks": {"allowedNetworks": ["10.0.0.0/8"]}}, "allowedHosts: Required value"),
    "an authority for a collector without https": (
        {"tracing": {"endpoint": "http://otel:4318", "caConfigMapName": "ca"}},
        "must only be set if spec.tracing.endpoint begins with https://",
    ),
    "a collector at a port that is none": ({"tracing": {"endpoint": "http://otel:99999"}}, "a port from 1 to 65535"),
    "a sink that is a URL": ({"payloadSinks": {"allowedHosts": ["https://a"]}}, "as in models.example.org"),
    "an allowed scheme that is none": ({"sources": {"allowedSchemes": ["ftp"]}}, 'Unsupported value: "ftp"'),
    "an allowed host that is a URL": ({"sources": {"allowedHosts": ["https://a"]}}, "as in models.example.org"),
    "an allowed host with a port": (
        {"sources": {"allowedHosts": ["host:9000"]}},
        "must be an exact host name without a port",
    ),
    "an allowed address that is none": ({"sources": {"allowedHosts": ["fd00::1::2"]}}, "must be an IPv6 address"),
    "an allowed network with a zero too many": ({"sources": {"allowedNetworks": ["10.00.0.0/8"]}}, "as in 10.0.0.0/8"),
    "an allowed network of a colon": (
        {"sources": {"allowedNetworks": [":/8"]}},
        "address is the first",
    ),
    "an allowed network with two gaps": (
        {"sources": {"allowedNetworks": ["fd00::1::/8"]}},
        "address is the first",
    ),
    "an allowed network with an address": (
        {"sources": {"allowedNetworks": ["10.1.0.0/8"]}},
        "address is the first",
    ),
    "an excluded network with an address": (
        {"sources": {"httpsProxy": "http://a:1", "noProxy": ["10.1.0.0/8"]}},
        "address is the first",
    ),
    "an excluded host with a port": (
        {"sources": {"httpsProxy": "http://a:1", "noProxy": ["a:9000"]}},
        "must be a host name without a port",
    ),
    "an operation that is none": ({"sources": {"allowedOperations": ["print"]}}, "as in PrintV2"),
    "an operation twice": ({"sources": {"allowedOperations": ["PrintV2", "PrintV2"]}}, "Duplicate value"),
    "a claim twice": ({"sources": {"volumeClaimNames": ["a", "a"]}}, "Duplicate value"),
    "a Secret twice": (
        {"sources": {"credentials": [{"secretName": "a", "hosts": ["b"]}, {"secretName": "a", "hosts": ["c"]}]}},
        "Duplicate value",
    ),
    "a Secret without hosts": ({"sources": {"credentials": [{"secretName": "a"}]}}, "hosts: Required value"),
    "a Secret for no host": ({"sources": {"credentials": [{"secretName": "a", "hosts": []}]}}, "at least 1 items"),
    "a Secret for a port": (
        {"sources": {"credentials": [{"secretName": "a", "hosts": ["b:1"]}]}},
        "must be an exact host name without a port",
    ),
    "a Secret for every host": (
        {"sources": {"credentials": [{"secretName": "a", "hosts": ["*"]}]}},
        "must be an exact host",
    ),
    "an allowed network without a size": ({"sources": {"allowedNetworks": ["10.0.0.0"]}}, "as in 10.0.0.0/8"),
    "a proxy with a password": ({"sources": {"httpsProxy": "http://a:b@c:1"}}, "without a user or password"),
    "exceptions of no proxy": ({"sources": {"noProxy": ["a"]}}, "has no effect without spec.sources.httpsProxy"),
    "a Secret of another namespace": (
        {"sources": {"credentials": [{"secretName": "a/b", "hosts": ["c"]}]}},
        "the name of a Secret",
    ),
    "an unknown field": ({"replicas": 2}, "unknown field"),
}
ACCEPTED: dict[str, dict[str, Any]] = {
    "as it is": {},
    "a tag": {"image": "ray-node:1"},
    "numbers without a unit": {"head": {"cpu": 1, "memory": 536870912}},
    "everything": {
        "default": True,
        "worker": {
            "cpu": "100m",
            "memory": "512Mi",
            "nodeSelector": {"pool": "serving"},
            "tolerations": [
                {"operator": "Exists"},
                {"key": "a", "value": "b", "effect": "NoSchedule"},
                {"key": "a", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 0},
            ],
            "priorityClassName": "serving",
        },
        "gateway": {
            "image": "a",
            "replicas": 1,
            "serviceType": "NodePort",
            "resources": {"cpu": 1, "memory": "256Mi"},
            "allowedOrigins": [
                "https://app.example.org",
                "http://localhost:3000",
                "http://[fd00::1]:8080",
                "http://a.org:443",
            ],
            "tls": {"secretName": "gateway-certificate"},
            "authentication": {
                "apiKeys": {"secretName": "api-keys"},
                "jwt": {
                    **JWT,
                    "algorithms": ["RS256", "ES384"],
                    "clockSkewSeconds": 0,
                    "requiredClaims": [{"name": "https://example.org/groups", "values": ["data", "ml"]}],
                },
            },
            "rateLimit": {"requestsPerSecond": 100_000, "burst": 10_000},
        },
        "gcsFaultTolerance": {"redisAddress": "rediss://redis.databases.svc:65535", "redisPassword": {"name": "redis"}},
        "imagePullSecrets": ["registry-credentials"],
        "sources": {
            "allowedSchemes": ["https", "s3"],
            "allowedHosts": ["models.example.org", "*.example.net", "fd00::1", "10.1.2.3"],
            "allowedNetworks": ["10.96.0.0/12", "fd00::/8"],
            "credentials": [{"secretName": "bucket-reader", "hosts": ["s3.eu-central-1.amazonaws.com"]}],
            "volumeClaimNames": ["shared-models"],
            "allowedOperations": ["PrintV2", "Text>Split"],
            "httpsProxy": "http://proxy.example.org:3128",
            "noProxy": [".svc", "10.0.0.0/8", "*", "fd00::1"],
        },
    },
}


@pytest.fixture(scope="module")
def api(kubernetes: cluster.LocalCluster) -> Iterator[dry_runs.DryRuns]:
    with dry_runs.DryRuns(kubernetes.kubeconfig) as made:
        yield made


def tried(api: dry_runs.DryRuns, body: Mapping[str, Any]) -> dry_runs.Answer:
    return api.create(dry_runs.SERVING_CLASSES, body)


@pytest.mark.parametrize("what", REFUSED)
def test_an_invalid_class_is_refused_with_what_is_right(api: dry_runs.DryRuns, what: str) -> None:
    changes, words = REFUSED[what]
    answer = tried(api, serving_classes.manifest(**changes))
    assert answer.stored is None
    assert any(words in line for line in answer.errors), answer.errors


@pytest.mark.parametrize("name", ["Upper", "1st", "dots.in.it", "c" * 40])
def test_a_name_that_no_ray_cluster_can_have_is_refused(api: dry_runs.DryRuns, name: str) -> None:
    assert tried(api, serving_classes.manifest(name)).stored is None


@pytest.mark.parametrize("what", ACCEPTED)
def test_a_valid_class_is_accepted(api: dry_runs.DryRuns, what: str) -> None:
    answer = tried(api, serving_classes.manifest("c" * 39, **ACCEPTED[what]))
    assert answer.stored is not None, answer.errors


def test_kubectl_prints_what_the_api_server_says(kubernetes: cluster.LocalCluster) -> None:
    changes, words = REFUSED["no worker"]
    for body, is_taken in ((serving_classes.manifest(), True), (serving_classes.manifest(**changes), False)):
        done = kubernetes.kubectl("apply", "--dry-run=server", "--filename=-", input=json.dumps(body))
        assert (done.returncode == 0, words in done.stderr) == (is_taken, not is_taken), done.stderr


def test_the_objects_and_their_pods_are_taken_at_the_level_restricted(kubernetes: cluster.LocalCluster) -> None:
    namespace = "restricted-serving"
    level = {"pod-security.kubernetes.io/enforce": "restricted"}
    made = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace, "labels": level}}
    assert kubernetes.kubectl("apply", "--filename=-", input=json.dumps(made)).returncode == 0
    class_ = serving_classes.make(**{key: value for key, value in ACCEPTED["everything"].items() if key != "default"})
    callers = network.Callers(operator="fairlead-system", prometheus="monitoring")
    composed = objects.compose(namespace, gateway_class=class_, clusters={"small-0123456789": 3}, callers=callers)
    bodies = [dict(each.body) for each in composed] + [objects.token_secret(namespace, "a" * 64)]
    templates = [each["spec"]["template"] for each in bodies if each["kind"] == infrastructure.DEPLOYMENT.kind]
    ray = ray_cluster.build(class_, namespace=namespace).body["spec"]
    templates += [ray["headGroupSpec"]["template"], ray["workerGroupSpecs"][0]["template"]]
    for number, template in enumerate(templates):
        # The service account, the class of priority and the Secret aren't there: only the level is asked about.
        spec = {
            key: value
            for key, value in template["spec"].items()
            if key not in ("serviceAccountName", "priorityClassName")
        }
        metadata = {"name": f"pod-{number}", "namespace": namespace}
        bodies.append({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
    text = yaml.safe_dump_all(bodies)
    done = kubernetes.kubectl("apply", "--dry-run=server", "--filename=-", input=text)
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
