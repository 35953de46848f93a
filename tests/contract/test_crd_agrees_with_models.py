"""The API server and the models agree: what it lets in, they read; what they write, it takes."""

from __future__ import annotations

import collections
import datetime
import json
import pathlib
from collections.abc import Iterator
from typing import Any

import kubernetes as official
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from tests.support import manifest_table

from fairlead_cli.local import cluster
from fairlead_operator.api import crd, names, spec, status
from fairlead_operator.state import route

pytestmark = pytest.mark.real

NAMESPACE = "crd-contract"
EPOCH = datetime.datetime.fromtimestamp(0, datetime.UTC).replace(tzinfo=None)
# The same examples each time, and no shrinking: each one is a call to the API server.
EXAMPLES = settings(
    max_examples=200,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.too_slow],
)
Schema = dict[str, Any]


@pytest.fixture(scope="module")
def api(kubernetes: cluster.LocalCluster) -> Iterator[official.client.CustomObjectsApi]:
    client = official.config.new_client_from_config(str(kubernetes.kubeconfig))
    kubernetes.kubectl("create", "namespace", NAMESPACE)
    yield official.client.CustomObjectsApi(client)
    kubernetes.kubectl("delete", "namespace", NAMESPACE, "--wait=false")
    client.close()


@pytest.fixture(scope="module")
def stored(api: official.client.CustomObjectsApi) -> str:
    """The name of an object that is there."""
    body = manifest_table.good_manifest({})
    api.create_namespaced_custom_object(names.GROUP, names.VERSION, NAMESPACE, names.PLURAL, body)
    name: str = body["metadata"]["name"]
    return name


def _schema(part: str, plural: str = names.PLURAL) -> Schema:
    version = crd.custom_resource_definitions()[plural]["spec"]["versions"][0]
    schema: Schema = version["schema"]["openAPIV3Schema"]["properties"][part]
    return schema


# --- specs: right ones with one odd value in one field, so that no other mistake hides it

HEX = "0123456789abcdef" * 4
RIGHT = {
    # Mostly in buckets, for which every other field of the model is allowed.
    ".model.uri": [
        *("s3://b/m", "gs://b/m%20x", "s3://b", "gs://b/1/", "hf://o/n@v1", "models:/n/3", "oci://r/n:1"),
        "s3://b/m",
    ],
    ".model.endpoint": ["https://h:9000", "http://[fd00::1]/a"],
    ".model.credentialsSecretName": ["reader"],
    ".model.digest": [f"sha256:{HEX}"],
    ".model.version": ["v1", "1.0", "a", "2026-11-24"],
    ".model.signature": ["serving_default", "ü"],
    ".serving.resources.cpu": [1, 1024, "1", "500m", "0.5"],
    ".rollout.rollingUpdate.surge": [0, 1, 1000, "1", "0%", "25%", "100%"],
    ".rollout.rollingUpdate.unavailable": [0, 1, 1000, "0", "25%", "100%"],
    ".rollout.analysis.metrics.name": ["errors", "p95", "a"],
    ".rollout.analysis.metrics.prometheus.query": ["up", "sum(rate(x{r='{{candidate}}'}[1m]))"],
    ".serving.resources.memory": [2**24, "512Mi", "2G", "16Ti", "1073741824"],
}
ODD_TEXTS = [
    "",
    " ",
    "\0",
    "é",
    "7",
    "a" * 64,
    "a" * 300,
    HEX,
    f"sha256:{HEX}\n",
    "s3://b",
    "file://h/m",
    "https://",
    "500M",
]
ODD = [
    *ODD_TEXTS,
    None,
    True,
    0,
    -1,
    1,
    1.0,
    1.5,
    2**31,
    2**53,
    [],
    {},
    [None],
    {"a": 1},
    "1e3",
    "1.5Gi",
    "0",
    "0m",
    "9Ei",
]


def _right(schema: Schema, path: str = "") -> st.SearchStrategy[Any]:
    if path in RIGHT:
        return st.sampled_from(RIGHT[path])
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    match schema["type"]:
        case "object":
            required = schema.get("required", [])
            fields = {name: _right(value, f"{path}.{name}") for name, value in schema["properties"].items()}
            optional = {name: field for name, field in fields.items() if name not in required}
            return st.fixed_dictionaries({name: fields[name] for name in required}, optional=optional)
        case "array":
            return _right_lists(schema, path)
        case "integer":
            return st.sampled_from([schema["minimum"], schema.get("maximum", 2**53)])
        case "number":
            return st.sampled_from([schema.get("minimum", 0.75), schema.get("maximum", 0.75), 1.0])
        case "boolean":
            return st.booleans()
        case _:
            return _right_texts(schema)


def _right_lists(schema: Schema, path: str) -> st.SearchStrategy[list[Any]]:
    keys = schema.get("x-kubernetes-list-map-keys")
    return st.lists(
        _right(schema["items"], path),
        min_size=schema.get("minItems", 0),
        max_size=min(3, schema["maxItems"]),
        unique_by=lambda item: item[keys[0]] if keys else repr(item),
    )


def _right_texts(schema: Schema) -> st.SearchStrategy[str]:
    if schema.get("format") == "date-time":
        return st.datetimes(EPOCH, timezones=st.just(datetime.UTC)).map(datetime.datetime.isoformat)
    if "pattern" in schema:
        return st.sampled_from(["Serving", "A", "A_b,c:9"])
    fitting = st.text(min_size=schema.get("minLength", 0), max_size=min(10, schema["maxLength"]))
    return fitting | st.sampled_from(["m" * schema["maxLength"], "é" * schema["maxLength"]])


def _leaves(schema: Schema, path: str = "") -> Iterator[str]:
    for name, value in schema.get("properties", {}).items():
        yield f"{path}.{name}"
        yield from _leaves(value, f"{path}.{name}")


def _specs() -> st.SearchStrategy[dict[str, Any]]:
    schema = _schema("spec")
    leaf = st.sampled_from(list(_leaves(schema)))
    return st.builds(_with, _right(schema), leaf, st.sampled_from(ODD)) | _right(schema)


def _with(right: dict[str, Any], leaf: str, invalid: Any) -> dict[str, Any]:
    *parents, last = leaf.strip(".").split(".")
    part = right
    for parent in parents:
        part = part.setdefault(parent, {})
    part[last] = invalid
    return right


@pytest.fixture(scope="module")
def taken() -> Iterator[collections.Counter[bool]]:
    """How many specs were taken and refused: a test that only ever sees refusals shows nothing."""
    counted: collections.Counter[bool] = collections.Counter()
    yield counted
    assert counted[True] > 20
    assert counted[False] > 20


@given(wanted=_specs())
@EXAMPLES
def test_every_accepted_manifest_is_readable_by_the_models(
    api: official.client.CustomObjectsApi, taken: collections.Counter[bool], wanted: dict[str, Any]
) -> None:
    body = manifest_table.good_manifest({}) | {"spec": wanted}
    try:
        stored = api.create_namespaced_custom_object(
            names.GROUP, names.VERSION, NAMESPACE, names.PLURAL, body, dry_run="All", field_validation="Strict"
        )
    except official.client.ApiException as refusal:
        taken[False] += 1
        if refusal.status in (400, 422):
            return
        raise
    taken[True] += 1
    spec.ModelDeploymentSpec.model_validate(stored["spec"])


# --- statuses: every field within its bounds, longer than any real one


@given(drawn=_right(_schema("status")))
@EXAMPLES
def test_every_written_status_is_accepted_and_read_back_the_same(
    api: official.client.CustomObjectsApi, stored: str, drawn: dict[str, Any]
) -> None:
    # The API server sets this default when the object is created, so it is there whatever is written.
    wanted = status.ModelDeploymentStatus.model_validate({"observedGeneration": 0, **drawn})
    body = {"status": wanted.to_wire()}
    taken = api.patch_namespaced_custom_object_status(
        names.GROUP, names.VERSION, NAMESPACE, names.PLURAL, stored, body, dry_run="All", field_validation="Strict"
    )
    assert status.ModelDeploymentStatus.model_validate(taken["status"]) == wanted


def test_the_longest_status_is_accepted_and_well_below_the_limit_of_etcd(
    api: official.client.CustomObjectsApi, stored: str
) -> None:
    revision = _most(_schema("status")["properties"]["revisions"]["items"])
    longest = _most(_schema("status")) | {
        "revisions": [revision | {"name": f"{number:010}"} for number in range(status.REVISIONS_MAX)],
    }
    wanted = status.ModelDeploymentStatus.model_validate(longest).to_wire()
    api.patch_namespaced_custom_object_status(
        names.GROUP, names.VERSION, NAMESPACE, names.PLURAL, stored, {"status": wanted}, field_validation="Strict"
    )
    assert len(json.dumps(wanted)) < 512 * 1024


def _most(schema: Schema) -> Any:
    """The longest value there is, with one item in each list."""
    if "enum" in schema:
        return max(schema["enum"], key=len)
    match schema["type"]:
        case "object":
            return {name: _most(value) for name, value in schema["properties"].items()}
        case "array":
            return [_most(schema["items"])]
        case "integer":
            return schema.get("maximum", 2**62)
        case "number":
            return schema["minimum"] / 9 + 0.123456
        case "boolean":
            return False
        case _ if schema.get("format") == "date-time":
            return "2026-11-24T10:00:00Z"
        case _:
            return "m" * schema["maxLength"]


# --- routes: whatever the operator writes is taken as it is, and read back with the same version

A, B = "a" * 10, "b" * 10
MATCHES = (
    route.Match(kind=route.MatchKind.HEADER, name="x-group", value="beta-1.2"),
    route.Match(kind=route.MatchKind.COOKIE, name="_canary", value="!#$%&'()*+-./:<=>?@[]^_`{|}~"),
)


def _entry(stable: str | None, candidate: str | None, **more: Any) -> route.RouteEntry:
    revision = route.RouteRevision(cluster="gpu-1", aliases=("3", "v2.1_b"))
    fields = {"candidate_weight": 2500 if candidate else 0, "max_request_bytes": 2**30, "request_timeout_s": 3600}
    revisions = {name: revision for name in (stable, candidate) if name is not None}
    return route.RouteEntry(stable=stable, candidate=candidate, revisions=revisions, **{**fields, **more})


ROUTES = [
    _entry(A, None),
    _entry(None, A),
    _entry(None, None),
    _entry(A, B, routing=route.Routing(matches=MATCHES, sticky_header="X-User", shadow=10_000)),
    route.RetiredRoute(),
]


def _route_body(name: str, content: object) -> dict[str, Any]:
    api_version = f"{names.GROUP}/{names.VERSION}"
    return {"apiVersion": api_version, "kind": names.ROUTE_KIND, "metadata": {"name": name}, "spec": content}


@pytest.mark.parametrize("number", range(len(ROUTES)))
def test_every_route_that_the_operator_writes_is_kept_as_it_is(kubernetes: cluster.LocalCluster, number: int) -> None:
    """By server-side apply, one over the other: what the next one leaves out is gone."""
    for made in (ROUTES[3], ROUTES[number]):
        apply = ("apply", "--server-side", "--field-manager=fairlead-operator", "-n", NAMESPACE, "-o", "json", "-f-")
        done = kubernetes.kubectl(*apply, input=json.dumps(_route_body(f"route-{number}", made.to_spec())))
        assert done.returncode == 0, done.stderr
    stored = json.loads(done.stdout)["spec"]
    assert route.text_of(stored) == made.to_json()
    assert stored["version"] == route.version_of(stored)


FORGED: list[tuple[str, dict[str, Any], str]] = [
    ("stable", {"stable": B}, "must be one of the revisions"),
    ("version", {"version": "x"}, "16 hex digits"),
    ("revisions", {"revisions": {"default": {"cluster": "a"}}, "stable": None}, "10 hex digits"),
    ("cluster", {"revisions": {A: {"cluster": "http://evil"}}}, "DNS label"),
    ("candidateWeight", {"candidateWeight": 10_001}, "10000"),
    ("header", {"match": [{"header": "a b", "value": "x"}]}, "letters, digits"),
    ("both", {"match": [{"header": "a", "cookie": "b", "value": "x"}]}, "exactly one"),
    ("value", {"match": [{"header": "a", "value": 'a"b'}]}, "printable ASCII"),
]


@pytest.mark.parametrize(("field", "change", "words"), FORGED, ids=[each[0] for each in FORGED])
def test_an_invalid_route_is_refused_with_its_field(
    kubernetes: cluster.LocalCluster, field: str, change: dict[str, Any], words: str
) -> None:
    content = {key: value for key, value in (ROUTES[0].to_spec() | change).items() if value is not None}
    create = ("create", "-n", NAMESPACE, "--dry-run=server", "--validate=strict", "-f-")
    done = kubernetes.kubectl(*create, input=json.dumps(_route_body("forged", content)))
    assert done.returncode != 0
    assert words in done.stderr


@pytest.mark.parametrize("sample", manifest_table.SAMPLES, ids=lambda path: path.stem)
def test_a_sample_can_be_applied_as_it_is(kubernetes: cluster.LocalCluster, sample: pathlib.Path) -> None:
    done = kubernetes.kubectl("apply", "--dry-run=server", "--validate=strict", f"--filename={sample}")
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
