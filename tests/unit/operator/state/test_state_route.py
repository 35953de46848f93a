from __future__ import annotations

import json

import pytest

from fairlead_operator.state.route import RouteEntry, RouteRevision, RouteText


def entry(stable: str | None = "a" * 10, candidate: str | None = None, weight: int = 0) -> RouteEntry:
    route = RouteRevision(host="127.0.0.1", first=20000, count=16, window=4, aliases=("3", "v2"))
    return RouteEntry(
        stable=stable,
        candidate=candidate,
        candidate_weight=weight,
        revisions={r: route for r in (stable, candidate) if r is not None},
        max_request_bytes=1048576,
        request_timeout_s=30,
    )


def test_an_entry_is_written_as_the_contract_says() -> None:
    body = json.loads(entry().to_json())
    version = body.pop("version")
    assert body == {
        "schema": 1,
        "stable": "aaaaaaaaaa",
        "candidate": None,
        "candidateWeight": 0,
        "revisions": {
            "aaaaaaaaaa": {
                "ports": {"host": "127.0.0.1", "first": 20000, "count": 16, "window": 4},
                "aliases": ["3", "v2"],
            }
        },
        "maxRequestBytes": 1048576,
        "requestTimeoutSeconds": 30,
    }
    assert len(version) == 16
    assert int(version, 16) >= 0


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
def test_weights_are_read_from_whatever_the_table_holds(text: str, weights: dict[str, int]) -> None:
    assert RouteText(text=text).weights() == weights
