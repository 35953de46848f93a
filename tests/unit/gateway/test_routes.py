"""Specs of routes: what is read, what is refused with which words, what is kept."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest

from fairlead_gateway import routes

A, B = "3f0c9a1b2d", "7ab0c9d1e2"


def spec(**changed: Any) -> str:
    content = {
        "stable": A,
        "candidateWeight": 0,
        "revisions": {A: {"cluster": "default", "aliases": ["3", "v2"]}},
        "maxRequestBytes": 1048576,
        "requestTimeoutSeconds": 30,
        **changed,
    }
    return json.dumps({"version": routes.spec_version(content), **content})


def parse(model: str, text: str) -> routes.Route:
    found = routes.parse_route(model, text)
    assert isinstance(found, routes.Route)
    return found


def test_a_route_is_read_with_all_fields() -> None:
    route = parse("digits", spec())

    assert (route.stable, route.candidate, route.candidate_weight) == (A, None, 0)
    assert route.request_timeout_ms == 30_000
    assert route.revisions[0].aliases == ("3", "v2")
    assert (route.revisions[0].name, route.revisions[0].cluster) == (A, "default")


def test_an_unknown_field_is_ignored() -> None:
    assert parse("digits", spec(later={"header": "x-user"})).stable == A


@pytest.mark.parametrize(
    ("model", "text", "words"),
    [
        pytest.param("Digits", spec(), "not a model name", id="upper case"),
        pytest.param("a b", spec(), "not a model name", id="a space"),
        pytest.param("digits", "{", "not JSON", id="cut"),
        pytest.param("digits", "[]", "dictionary", id="a list"),
        pytest.param("digits", spec(stable=B), f"stable: {B} is not listed in revisions", id="unknown stable"),
        pytest.param("digits", spec(candidate=B), "candidate:", id="unknown candidate"),
        pytest.param("digits", spec(candidate=A), "candidate: must differ from stable", id="candidate is stable"),
        pytest.param("digits", spec(candidateWeight=5), "candidateWeight: must be absent or 0", id="weight of none"),
        pytest.param("digits", spec(candidateWeight=10_001), "candidateWeight", id="weight above all"),
        pytest.param("digits", spec(revisions={"a\nb": {"cluster": "x"}}), "revisions", id="a line break in a name"),
        pytest.param("digits", spec(revisions={A: {}}), f"revisions.{A}.cluster", id="no cluster"),
        pytest.param("digits", spec(revisions={A: {"cluster": "a b"}}), f"revisions.{A}.cluster", id="odd cluster"),
        pytest.param(
            "digits",
            spec(revisions={f"{number:010x}": {"cluster": "x"} for number in range(33)}),
            "revisions: Dictionary should have at most 32",
            id="too many revisions",
        ),
        pytest.param("digits", spec(more="x" * 300_000), "it has more than 262144 characters", id="too long"),
        pytest.param("digits", "[" * 100_000, "not JSON", id="too deep"),
        pytest.param("digits", "null", "dictionary", id="no spec"),
        pytest.param("digits", spec(maxRequestBytes=0), "maxRequestBytes", id="no bytes"),
        pytest.param("digits", spec(requestTimeoutSeconds=-1), "requestTimeoutSeconds", id="no time"),
        pytest.param("digits", spec().replace("1048576", "1048577"), "is not the version of this content", id="edited"),
    ],
)
def test_an_invalid_route_is_refused_with_the_field_and_the_reason(model: str, text: str, words: str) -> None:
    with pytest.raises(routes.InvalidRouteError) as caught:
        routes.parse_route(model, text)

    assert words in str(caught.value)


def routed(**changed: Any) -> str:
    """A spec with a candidate."""
    return spec(candidate=B, revisions={A: {"cluster": "default"}, B: {"cluster": "gpu"}}, **changed)


def test_matches_a_sticky_header_and_a_shadow_are_read() -> None:
    route = parse(
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


def test_a_route_without_matches_sticky_and_shadow_has_none() -> None:
    route = parse("digits", routed())

    assert (route.matches, route.sticky_header, route.shadow_share) == ((), None, 0)


BAD_NAMES = ["", "a b", "a:b", "a\n  server x", "a)", "-a", "a-", "ü", "x" * 65, "a,b", "a{b}"]
BAD_VALUES = ["", "a b", 'a"b', "a;b", "a\nb", "a\\b", "a,b", "ü", "x" * 129, "a\x00b"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param(
            spec(match=[{"header": "x-a", "value": "b"}]),
            "match: needs a stable revision and a candidate",
            id="no candidate",
        ),
        pytest.param(
            spec(sticky={"header": "x-a"}),
            "sticky: needs a stable revision and a candidate",
            id="sticky without candidate",
        ),
        pytest.param(spec(shadow=1), "shadow: needs a stable revision and a candidate", id="shadow of none"),
        pytest.param(routed(stable=None, shadow=1), "shadow: needs a stable revision", id="no stable"),
        pytest.param(routed(shadow=10_001), "shadow: Input should be less than", id="shadow above all"),
        pytest.param(routed(shadow=-1), "shadow: Input should be greater", id="shadow below none"),
        pytest.param(routed(match=[{"value": "b"}]), "match.0: set exactly one", id="neither"),
        pytest.param(
            routed(match=[{"header": "a", "cookie": "b", "value": "c"}]), "match.0: set exactly one", id="both"
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
def test_text_with_a_meaning_in_haproxy_is_refused_with_its_field(text: str, words: str) -> None:
    with pytest.raises(routes.InvalidRouteError) as caught:
        routes.parse_route("digits", text)

    assert words in str(caught.value)


def test_an_invalid_route_keeps_the_last_valid_one_and_the_other_models() -> None:
    last = routes.read_table({"digits": spec(), "cats": spec()}, routes.EMPTY_TABLE)

    table = routes.read_table({"digits": "{", "cats": spec(maxRequestBytes=5), "new": "{"}, last)

    assert table.routes["digits"] == last.routes["digits"]
    assert table.routes["cats"].max_request_bytes == 5
    assert set(table.errors) == {"digits", "new"}
    assert "new" not in table.routes


def test_a_route_deleted_without_a_retired_mark_is_kept_until_it_is_written_again() -> None:
    last = routes.read_table({"digits": spec(), "cats": spec()}, routes.EMPTY_TABLE)

    kept = routes.read_table({"cats": spec()}, last)
    repaired = routes.read_table({"cats": spec(), "digits": spec(maxRequestBytes=5)}, kept)

    assert kept == last
    assert repaired.routes["digits"].max_request_bytes == 5


def test_a_retired_mark_removes_the_route_and_is_forgotten_with_its_object() -> None:
    last = routes.read_table({"digits": spec(), "cats": spec()}, routes.EMPTY_TABLE)
    mark = spec(retired=True)

    marked = routes.read_table({"digits": mark, "cats": spec()}, last)
    gone = routes.read_table({"cats": spec()}, marked)

    assert (set(marked.routes), set(marked.retired)) == ({"cats"}, {"digits"})
    assert marked.retired["digits"].version == json.loads(mark)["version"]
    assert (set(gone.routes), set(gone.retired)) == ({"cats"}, set())
    assert routes.read_table({"digits": spec(), "cats": spec()}, marked) == last, "a model may come back"


def test_a_retired_mark_needs_only_its_version_and_is_validated() -> None:
    content = {"retired": True}
    version = routes.spec_version(content)

    assert routes.parse_route("digits", json.dumps({**content, "version": version})) == routes.Retired(
        version=version, text=json.dumps({**content, "version": version})
    )
    with pytest.raises(routes.InvalidRouteError, match="is not the version of this content"):
        routes.parse_route("digits", json.dumps({**content, "version": "0" * 16}))


def test_an_invalid_spec_does_not_undo_a_retired_mark() -> None:
    mark = spec(retired=True)
    last = routes.read_table({"digits": mark}, routes.EMPTY_TABLE)

    table = routes.read_table({"digits": "{"}, last)

    assert (set(table.routes), set(table.retired), set(table.errors)) == (set(), {"digits"}, {"digits"})


def test_saved_routes_are_read_back_the_same() -> None:
    table = routes.read_table({"digits": spec(), "cats": spec(retired=True)}, routes.EMPTY_TABLE)

    assert routes.read_table(table.texts(), routes.EMPTY_TABLE) == table


def test_the_version_is_that_of_the_contract() -> None:
    # Source: docs/contracts.md: 16 hex digits of SHA-256 over the spec without `version` and nulls, keys sorted.
    content = '{"a":[2],"b":{"d":1}}'
    expected = hashlib.sha256(content.encode()).hexdigest()[:16]

    assert routes.spec_version({"b": {"c": None, "d": 1}, "version": "x", "e": None, "a": [2]}) == expected
