from __future__ import annotations

import dataclasses
import json

import pytest

from fairlead_operator.api.model_route import ModelRouteSpec
from fairlead_operator.state.route import Match, MatchKind, RetiredRoute, RouteEntry, RouteRevision, RouteText, Routing


def entry(stable: str | None = "a" * 10, candidate: str | None = None, weight: int = 0) -> RouteEntry:
    route = RouteRevision(cluster="gpu", aliases=("3", "v2"))
    return RouteEntry(
        stable=stable,
        candidate=candidate,
        candidate_weight=weight,
        revisions={r: route for r in (stable, candidate) if r is not None},
        max_request_bytes=1048576,
        request_timeout_s=30,
    )


def test_a_route_without_revisions_lacks_the_field_and_is_valid() -> None:
    spec = entry(stable=None).to_spec()
    assert "revisions" not in spec
    assert ModelRouteSpec.model_validate(spec).revisions == {}


def test_an_entry_is_written_as_the_contract_says() -> None:
    body = json.loads(entry().to_json())
    version = body.pop("version")
    assert body == {
        "stable": "aaaaaaaaaa",
        "candidateWeight": 0,
        "revisions": {
            "aaaaaaaaaa": {"cluster": "gpu", "aliases": ["3", "v2"]},
        },
        "maxRequestBytes": 1048576,
        "requestTimeoutSeconds": 30,
    }
    assert len(version) == 16
    assert int(version, 16) >= 0


@pytest.mark.parametrize(
    "made",
    [
        entry(),
        entry(stable=None),
        entry(candidate="b" * 10, weight=2500),
        dataclasses.replace(
            entry(candidate="b" * 10),
            routing=Routing(
                matches=(Match(kind=MatchKind.HEADER, name="x-group", value="beta"),), sticky_header="x-user", shadow=5
            ),
        ),
        RetiredRoute(),
    ],
)
def test_every_written_route_is_valid_for_its_kind(made: RouteEntry | RetiredRoute) -> None:
    read = ModelRouteSpec.model_validate(made.to_spec())
    assert read.model_dump(mode="json", by_alias=True, exclude_unset=True) == made.to_spec()


def test_a_retired_route_has_only_the_mark_and_its_version() -> None:
    text = RouteText(text=RetiredRoute().to_json())
    assert text.is_retired
    assert text.weights() == {}
    assert set(json.loads(text.text)) == {"retired", "version"}
    assert not RouteText(text=entry().to_json()).is_retired


def test_match_sticky_and_shadow_are_written_as_in_the_contract_and_absent_when_unset() -> None:
    routing = Routing(
        matches=(
            Match(kind=MatchKind.HEADER, name="x-group", value="beta"),
            Match(kind=MatchKind.COOKIE, name="Canary", value="on"),
        ),
        sticky_header="x-user",
        shadow=1000,
    )
    plain = json.loads(entry(candidate="b" * 10).to_json())
    routed = json.loads(dataclasses.replace(entry(candidate="b" * 10), routing=routing).to_json())

    assert {key: routed[key] for key in routed.keys() - plain.keys()} == {
        "match": [{"header": "x-group", "value": "beta"}, {"cookie": "Canary", "value": "on"}],
        "sticky": {"header": "x-user"},
        "shadow": 1000,
    }
    assert routed["version"] != plain["version"]


def test_matches_are_read_from_any_route_content() -> None:
    match = Match(kind=MatchKind.HEADER, name="x-group", value="beta")
    matched = dataclasses.replace(entry(candidate="b" * 10), routing=Routing(matches=(match,)))

    assert RouteText(text=matched.to_json()).is_matched("b" * 10)
    assert not RouteText(text=matched.to_json()).is_matched("c" * 10)
    assert not any(RouteText(text=text).is_matched("b" * 10) for text in (entry().to_json(), "{", "[]", "{}"))


def test_a_version_names_the_content() -> None:
    assert entry().version == entry().version
    assert entry().version != entry(candidate="b" * 10).version
    assert RouteText(text=entry().to_json()).holds(entry())


@pytest.mark.parametrize(
    ("text", "weights"),
    [
        pytest.param(entry().to_json(), {"a" * 10: 10000}, id="stable alone"),
        pytest.param(
            entry(candidate="b" * 10, weight=100).to_json(), {"a" * 10: 9900, "b" * 10: 100}, id="one percent"
        ),
        pytest.param(entry(candidate="b" * 10, weight=10000).to_json(), {"b" * 10: 10000}, id="all to the candidate"),
        pytest.param(entry(stable=None).to_json(), {}, id="no revision"),
        pytest.param("not JSON", {}, id="not JSON"),
        pytest.param("[]", {}, id="no object"),
        pytest.param('{"stable": 3, "candidateWeight": "x"}', {}, id="wrong types"),
    ],
)
def test_weights_are_read_from_any_route_content(text: str, weights: dict[str, int]) -> None:
    assert RouteText(text=text).weights() == weights
