"""A token says who predicted what; nobody else can write one, and no changed one is taken."""

from __future__ import annotations

import base64
import hashlib
import hmac
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead_runtime.feedback import keys, mac, tokens
from fairlead_runtime.inference.tops import ROWS_MAX, Kind, Tops

A, B = "3f0c9a1b2d", "7ab0c9d1e2"
NOW_S = 2_000_000_000.0


def signer(*, namespace: str = "default", model: str = "digits", revision: str = A, secret: str = "s") -> tokens.Signer:
    return tokens.Signer(
        keys.derive(secret, namespace=namespace, model=model),
        context=keys.context_id(namespace=namespace, model=model),
        revision=revision,
    )


classes = st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=ROWS_MAX).map(
    lambda values: Tops(Kind.CLASS, tuple(values), ())
)
numbers = st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=ROWS_MAX).map(
    lambda values: Tops(Kind.NUMBER, tuple(values), ())
)


@given(classes | numbers)
def test_a_token_is_read_by_any_replica_of_the_model(tops: Tops) -> None:
    token = signer().issue(tops).decode()

    found = signer(revision=B).read(token, 0)

    assert (found.revision, found.kind, found.values) == (A, tops.kind, tops.values)


@given(classes | numbers, st.data())
def test_a_token_with_any_bit_flipped_is_refused(tops: Tops, data: st.DataObject) -> None:
    token = signer().issue(tops)
    raw = bytearray(base64.urlsafe_b64decode(token + b"=="))
    bit = data.draw(st.integers(0, len(raw) * 8 - 1))
    raw[bit // 8] ^= 1 << bit % 8

    with pytest.raises(tokens.TokenError):
        signer().read(base64.urlsafe_b64encode(raw).rstrip(b"=").decode(), 0)


@given(classes, st.data())
def test_a_token_with_any_character_changed_is_refused(tops: Tops, data: st.DataObject) -> None:
    token = signer().issue(tops).decode()
    at = data.draw(st.integers(0, len(token) - 1))
    other = data.draw(st.characters().filter(lambda one: one != token[at]))

    with pytest.raises(tokens.TokenError):
        signer().read(token[:at] + other + token[at + 1 :], 0)


@given(st.text(max_size=300))
def test_other_text_is_a_malformed_token(text: str) -> None:
    with pytest.raises(tokens.TokenError) as refused:
        signer().read(text, 0)
    assert refused.value.fault is tokens.TokenFault.MALFORMED


@pytest.mark.parametrize(
    ("other", "fault"),
    [
        pytest.param(signer(model="cats"), tokens.TokenFault.FOREIGN, id="another model"),
        pytest.param(signer(namespace="team-b"), tokens.TokenFault.FOREIGN, id="another namespace"),
        pytest.param(signer(secret="another"), tokens.TokenFault.FORGED, id="another cluster"),
    ],
)
def test_a_foreign_token_is_refused_as_foreign(other: tokens.Signer, fault: tokens.TokenFault) -> None:
    with pytest.raises(tokens.TokenError) as refused:
        signer().read(other.issue(Tops(Kind.CLASS, (1,), ())).decode(), 0)
    assert refused.value.fault is fault


def test_a_foreign_key_is_refused_even_with_the_same_context() -> None:
    forger = tokens.Signer(
        keys.derive("s", namespace="default", model="cats"),
        context=keys.context_id(namespace="default", model="digits"),
        revision=A,
    )

    with pytest.raises(tokens.TokenError) as refused:
        signer().read(forger.issue(Tops(Kind.CLASS, (1,), ())).decode(), 0)
    assert refused.value.fault is tokens.TokenFault.FORGED


@given(st.binary(max_size=64), st.binary(max_size=200), st.integers(1, 32))
def test_a_signature_equals_the_hmac_of_the_standard_library(key: bytes, message: bytes, size: int) -> None:
    assert mac.Mac(key, size).sign(message) == hmac.digest(key, message, hashlib.sha256)[:size]


@given(st.tuples(st.text(max_size=8), st.text(max_size=8)), st.tuples(st.text(max_size=8), st.text(max_size=8)))
def test_no_two_models_share_a_key(one: tuple[str, str], other: tuple[str, str]) -> None:
    first, second = (keys.derive("s", namespace=pair[0], model=pair[1]) for pair in (one, other))
    assert (first == second) == (one == other)


def test_tokens_expire_after_a_month() -> None:
    made = signer()
    token = made.issue(Tops(Kind.CLASS, (1,), ())).decode()
    issued_s = made.read(token, 0).issued_s

    assert made.read(token, issued_s + tokens.AGE_S_MAX).values == (1,)
    with pytest.raises(tokens.TokenError) as refused:
        made.read(token, issued_s + tokens.AGE_S_MAX + 1)
    assert refused.value.fault is tokens.TokenFault.EXPIRED


def test_no_two_answers_get_the_same_token() -> None:
    made = [signer(), signer()]
    issued = {one.issue(Tops(Kind.CLASS, (1,), ())) for one in made for _ in range(1000)}

    assert len(issued) == 2000


def test_a_prediction_too_large_for_a_token_gets_no_token() -> None:
    assert signer().issue(Tops(Kind.NUMBER, (1e300,), ())) == b""


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        pytest.param({}, None, id="no authentication"),
        pytest.param({"RAY_AUTH_MODE": "disabled", "RAY_AUTH_TOKEN": "a"}, None, id="disabled"),
        pytest.param(
            {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "a", "RAY_AUTH_TOKEN_PATH": "given"}, "a", id="value"
        ),
        pytest.param({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": "given"}, "from the file", id="file"),
        pytest.param({"RAY_AUTH_MODE": "token"}, "from home", id="default file"),
        pytest.param({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": "nowhere"}, None, id="no such file"),
        pytest.param(
            {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "a", "RAY_ENABLE_K8S_TOKEN_AUTH": "true"},
            None,
            id="kubernetes",
        ),
    ],
)
def test_the_token_of_ray_is_found_in_the_same_places_as_ray_looks(
    tmp_path: Path, environment: dict[str, str], expected: str | None
) -> None:
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text("from home\n")
    (tmp_path / "given").write_text("from the file\n")
    if "RAY_AUTH_TOKEN_PATH" in environment:
        environment["RAY_AUTH_TOKEN_PATH"] = str(tmp_path / environment["RAY_AUTH_TOKEN_PATH"])

    assert keys.ray_token(environment, tmp_path) == expected
