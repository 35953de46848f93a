"""What the name of the map of token keys says."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from fairlead_gateway import settings
from fairlead_gateway.haproxy import access, tokens


def test_the_map_of_keys_is_named_by_the_rules() -> None:
    first = settings.Tokens(jwks=Path("a"), issuer="i", audiences=("a",))
    scope = settings.RequiredClaim(name="scope", values=("a",))
    others = (
        dataclasses.replace(first, issuer="j"),
        dataclasses.replace(first, audiences=("a", "b")),
        dataclasses.replace(first, algorithms=("ES256",)),
        dataclasses.replace(first, clock_skew_s=0),
        dataclasses.replace(first, required_claims=(scope,)),
    )
    files = [tokens.map_file(each) for each in (first, *others)]
    assert len(set(files)) == len(files)
    assert tokens.map_file(dataclasses.replace(first, jwks=Path("b"))) == files[0], "where the keys are is no rule"
    for file in (*files, "jwks.map"):
        assert tokens.find_map(("route.map", access.KEY_MAP, file)) == file
