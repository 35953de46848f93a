"""Entries of the route table: what is read, what is refused with which words, what is kept."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest

from fairlead_gateway import routes

A, B = "3f0c9a1b2d", "7ab0c9d1e2"


def entry(**changed: Any) -> str:
    content = {
        "schema": 1,
        "stable": A,
        "candidate": None,
        "candidateWeight": 0,
        "revisions": {
            A: {"ports": {"host": "127.0.0.1", "first": 20000, "count": 16, "window": 4}, "aliases": ["3", "v2"]}
        },
        "maxRequestBytes": 1048576,
        "requestTimeoutSeconds": 30,
        **changed,
    }
    return json.dumps({"version": routes.entry_version(content), **content})


def ports(**changed: Any) -> dict[str, Any]:
    return {A: {"ports": {"host": "127.0.0.1", "first": 20000, "count": 16, "window": 4, **changed}}}


def test_an_entry_is_read_whole() -> None:
    route = routes.parse_route("digits", entry())

    assert (route.stable, route.candidate, route.candidate_weight) == (A, None, 0)
    assert route.request_timeout_ms == 30_000
    assert route.revisions[0].aliases == ("3", "v2")
    assert (route.revisions[0].first_port, route.revisions[0].ports, route.revisions[0].window) == (20000, 16, 4)


def test_a_field_that_this_version_does_not_know_is_no_error() -> None:
    assert routes.parse_route("digits", entry(later={"header": "x-user"})).stable == A


@pytest.mark.parametrize(
    ("model", "text", "words"),
    [
        pytest.param("Digits", entry(), "not a model name", id="upper case"),
        pytest.param("a b", entry(), "not a model name", id="a space"),
        pytest.param("digits", "{", "not JSON", id="cut"),
        pytest.param("digits", "[]", "dictionary", id="a list"),
        pytest.param("digits", entry(schema=2), "schema", id="another schema"),
        pytest.param("digits", entry(stable=B), f"stable: {B} is not among the revisions", id="unknown stable"),
        pytest.param("digits", entry(candidate=B), "candidate:", id="unknown candidate"),
        pytest.param("digits", entry(candidate=A), "candidate: is the stable revision", id="candidate is stable"),
        pytest.param("digits", entry(candidateWeight=5), "candidateWeight: there is no candidate", id="weight of none"),
        pytest.param("digits", entry(candidateWeight=10_001), "candidateWeight", id="weight above all"),
        pytest.param("digits", entry(revisions={"a\nb": ports()[A]}), "revisions", id="a line break in a name"),
        pytest.param("digits", entry(revisions=ports(host="h\n  server x")), "host", id="a line break in a host"),
        pytest.param("digits", entry(revisions=ports(host="ray.local")), "host", id="a name where an address belongs"),
        pytest.param("digits", entry(revisions=ports(window=17)), "window: 17 is more than count", id="wide window"),
        pytest.param("digits", entry(revisions=ports(first=65530)), "ends above 65535", id="beyond the last port"),
        pytest.param("digits", entry(maxRequestBytes=0), "maxRequestBytes", id="no bytes"),
        pytest.param("digits", entry(requestTimeoutSeconds=-1), "requestTimeoutSeconds", id="no time"),
        pytest.param(
            "digits", entry().replace("1048576", "1048577"), "is not the version of this content", id="edited"
        ),
    ],
)
def test_a_bad_entry_is_refused_with_the_field_and_the_reason(model: str, text: str, words: str) -> None:
    with pytest.raises(routes.InvalidRouteError) as caught:
        routes.parse_route(model, text)

    assert words in str(caught.value)


def routed(**changed: Any) -> str:
    """An entry with a candidate."""
    of_b = {"ports": {"host": "127.0.0.1", "first": 20016, "count": 16, "window": 4}}
    return entry(candidate=B, revisions={**ports(), B: of_b}, **changed)


def test_matches_a_sticky_header_and_a_shadow_are_read() -> None:
    route = routes.parse_route(
        "digits",
        routed(
            match=[{"header": "X-Group", "value": "beta"}, {"cookie": "Canary", "value": "on"}],
            sticky={"header": "X-User"},
            shadow=1000,
        ),
    )

    # A header's name is the same in capitals, a cookie's is not.
    assert route.matches == (
        routes.Match(kind=routes.MatchKind.HEADER, name="x-group", value="beta"),
        routes.Match(kind=routes.MatchKind.COOKIE, name="Canary", value="on"),
    )
    assert (route.sticky_header, route.shadow_share) == ("x-user", 1000)


def test_an_entry_without_them_has_none() -> None:
    route = routes.parse_route("digits", routed())

    assert (route.matches, route.sticky_header, route.shadow_share) == ((), None, 0)


BAD_NAMES = ["", "a b", "a:b", "a\n  server x", "a)", "-a", "a-", "ü", "x" * 65, "a,b", "a{b}"]
BAD_VALUES = ["", "a b", 'a"b', "a;b", "a\nb", "a\\b", "a,b", "ü", "x" * 129, "a\x00b"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param(entry(match=[{"header": "x-a", "value": "b"}]), "match: there is no candidate", id="no candidate"),
        pytest.param(entry(sticky={"header": "x-a"}), "sticky: there is no candidate", id="sticky without candidate"),
        pytest.param(entry(shadow=1), "shadow: there is no candidate", id="shadow of none"),
        pytest.param(routed(stable=None, shadow=1), "shadow: there is no candidate beside a stable", id="no stable"),
        pytest.param(routed(shadow=10_001), "shadow: Input should be less than", id="shadow above all"),
        pytest.param(routed(shadow=-1), "shadow: Input should be greater", id="shadow below none"),
        pytest.param(routed(match=[{"value": "b"}]), "match.0: must have exactly one", id="neither"),
        pytest.param(
            routed(match=[{"header": "a", "cookie": "b", "value": "c"}]), "match.0: must have exactly one", id="both"
        ),
        pytest.param(routed(match=[{"header": "a"}]), "match.0.value: Field required", id="no value"),
        pytest.param(
            routed(match=[{"header": "a", "value": str(number)} for number in range(9)]), "at most 8", id="nine"
        ),
        pytest.param(
            routed(match=[{"header": "X-Fairlead-Revision", "value": "b"}]), "match.0.header: x-fairlead-", id="own"
        ),
        pytest.param(routed(sticky={"header": "x-fairlead-feedback"}), "sticky.header: x-fairlead-", id="own, sticky"),
        *(pytest.param(routed(sticky={"header": bad}), "sticky.header:", id=f"sticky {bad!r}") for bad in BAD_NAMES),
        *(
            pytest.param(routed(match=[{"header": bad, "value": "b"}]), "match.0.header:", id=f"header {bad!r}")
            for bad in BAD_NAMES
        ),
        *(
            pytest.param(routed(match=[{"cookie": bad, "value": "b"}]), "match.0.cookie:", id=f"cookie {bad!r}")
            for bad in ("", "a b", "a;b", "a=b", "a\nb", "ü", "a)", "x" * 65)
        ),
        *(
            pytest.param(routed(match=[{"header": "a", "value": bad}]), "match.0.value:", id=f"value {bad!r}")
            for bad in BAD_VALUES
        ),
    ],
)
def test_what_could_mean_something_to_haproxy_is_refused_by_its_field(text: str, words: str) -> None:
    with pytest.raises(routes.InvalidRouteError) as caught:
        routes.parse_route("digits", text)

    assert words in str(caught.value)


def test_a_bad_entry_keeps_its_last_good_route_and_leaves_the_others_alone() -> None:
    last = routes.read_table({"digits": entry(), "cats": entry()}, routes.EMPTY_TABLE)

    table = routes.read_table({"digits": "{", "cats": entry(maxRequestBytes=5), "new": "{"}, last)

    assert table.routes["digits"] == last.routes["digits"]
    assert table.routes["cats"].max_request_bytes == 5
    assert set(table.errors) == {"digits", "new"}
    assert "new" not in table.routes


def test_a_model_that_is_gone_is_gone_also_when_it_had_a_good_route() -> None:
    last = routes.read_table({"digits": entry()}, routes.EMPTY_TABLE)

    assert routes.read_table({}, last) == routes.EMPTY_TABLE


def test_the_version_is_that_of_the_contract() -> None:
    # Source: docs/contracts.md: SHA-256 over the entry without `version`, sorted keys, no spaces, 16 hex digits.
    content = '{"a":[2],"b":{"c":null}}'
    expected = hashlib.sha256(content.encode()).hexdigest()[:16]

    assert routes.entry_version({"b": {"c": None}, "version": "x", "a": [2]}) == expected
