"""Which keys are read from a JSON Web Key Set, and what is said of the others."""

from __future__ import annotations

import errno
import json
import logging
from pathlib import Path
from typing import Any

import pytest
from tests.support.web_tokens import encode, key_set, make_key

from fairlead_gateway import files, main, settings
from fairlead_gateway.haproxy import jwks

RSA, EC = make_key("rsa", "RS256"), make_key("ec", "ES256")
ALL = settings.ALGORITHMS


def read(*keys: Any, algorithms: tuple[str, ...] = ALL) -> jwks.Keys:
    return jwks.parse(key_set(keys).encode(), algorithms)


@pytest.mark.parametrize("algorithm", ALL)
def test_a_key_becomes_the_pem_that_openssl_writes(algorithm: str) -> None:
    key = make_key("it", algorithm)
    found = read(key)
    name = (found.names or {})[f"{algorithm}/it"]
    assert found.pems == {name: key.public_pem.decode()}
    assert name.startswith(f"{algorithm}-")


def test_a_key_without_an_algorithm_has_the_common_one_of_its_kind() -> None:
    found = read(RSA.jwk(alg=None), EC.jwk(alg=None, use=None), make_key("p", "ES384").jwk(alg=None))
    assert set(found.names or {}) == {"RS256/rsa", "ES256/ec", "ES384/p"}


def test_a_key_for_encryption_is_passed_over() -> None:
    found = read(RSA.jwk(use="enc", alg="RSA-OAEP"), EC)
    assert (set(found.names or {}), found.refused) == ({"ES256/ec"}, {})


def test_two_algorithms_of_one_key_are_two_keys() -> None:
    found = read(RSA, RSA.jwk(alg="PS256"))
    assert set(found.names or {}) == {"RS256/rsa", "PS256/rsa"}
    assert len(found.pems) == 2


REFUSED: dict[str, tuple[Any, str]] = {
    "no object": (1, "must be an object"),
    "a secret": ({"kty": "oct", "kid": "a", "k": "AAAA", "alg": "HS256"}, "has a secret part"),
    "a private key": (RSA.jwk(d="AAAA"), "has a secret part"),
    "no kid": (RSA.jwk(kid=None), "kid must be 1 to 128"),
    "a kid with a space": (RSA.jwk(kid="a b"), "kid must be 1 to 128"),
    "a kid with a semicolon": (RSA.jwk(kid="a;b"), "kid must be 1 to 128"),
    "another use": (RSA.jwk(use="tls"), "use must be sig"),
    "another operation": (RSA.jwk(key_ops=["encrypt"]), "key_ops must have verify"),
    "no kind": (RSA.jwk(kty=None), "must have kty RSA, or kty EC with crv P-256 or P-384"),
    "Edwards": ({"kty": "OKP", "crv": "Ed25519", "kid": "a", "x": "AAAA"}, "must have kty RSA, or kty EC"),
    "another curve": (make_key("a", "ES512").jwk(), "must have kty RSA, or kty EC"),
    "HMAC with an RSA key": (RSA.jwk(alg="HS256"), "alg must be RS256 or"),
    "none": (RSA.jwk(alg="none"), "alg must be RS256 or"),
    "a list of algorithms": (RSA.jwk(alg=["RS256"]), "alg must be RS256 or"),
    "ES384 with P-256": (EC.jwk(alg="ES384"), "alg must be ES256"),
    "a short key": (make_key("a", "RS256", bits=1024).jwk(), "2048 to 4096 bits, has 1024"),
    "an even modulus": (RSA.jwk(n=encode(b"\xff" * 255 + b"\0")), "must be the modulus"),
    "no modulus": (RSA.jwk(n=None), "n must be text in base64url without padding"),
    "a modulus with padding": (RSA.jwk(n="AAA="), "n must be text in base64url without padding"),
    "a small exponent": (RSA.jwk(e="Aw"), "e must be an odd number from 65537"),
    "an even exponent": (RSA.jwk(e="AQAC"), "e must be an odd number from 65537"),
    "a point beside the curve": (EC.jwk(x=EC.jwk()["y"], y=EC.jwk()["x"]), "must be a point of the curve"),
    "a short point": (EC.jwk(x="AAAA"), "x and y must have 32 bytes each"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_key_that_is_no_use_refuses_only_its_own_tokens(case: str) -> None:
    key, words = REFUSED[case]
    found = read(key, make_key("good"))
    assert set(found.names or {}) == {"ES256/good"}
    (reason,) = found.refused.values()
    assert words in reason


def test_a_key_of_an_algorithm_that_is_not_allowed_is_refused() -> None:
    found = read(RSA, EC, algorithms=("ES256",))
    assert set(found.names or {}) == {"ES256/ec"}
    assert found.refused == {"keys[0] kid=rsa": "its algorithm RS256 is not one of ES256"}


def test_of_two_keys_with_one_name_the_first_is_used_and_of_too_many_the_last_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = read(EC, make_key("ec"), RSA)
    assert set(found.names or {}) == {"ES256/ec", "RS256/rsa"}
    assert list(found.pems.values()) == [EC.public_pem.decode(), RSA.public_pem.decode()]
    assert found.refused == {
        "keys[1] kid=ec": "another key has the same kid",
    }
    monkeypatch.setattr(jwks, "KEYS_MAX", 1)
    found = read(EC, RSA, 1)
    assert set(found.names or {}) == {"ES256/ec"}
    assert found.refused == {"keys[1] kid=rsa": "at most 1 keys are possible", "keys[2]": "must be an object"}


def test_only_keys_that_are_used_count_towards_the_most_that_are_possible() -> None:
    encryption = [RSA.jwk(use="enc", kid=f"e{number}") for number in range(jwks.KEYS_MAX)]
    broken = [RSA.jwk(n=None, kid=f"b{number}") for number in range(jwks.KEYS_MAX)]
    found = read(*encryption, *broken, EC, RSA)
    assert set(found.names or {}) == {"ES256/ec", "RS256/rsa"}
    assert len(found.refused) == jwks.KEYS_MAX


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"", "must be JSON"),
        (b"\xff", "must be JSON"),
        (b"[" * 100_000, "must be JSON"),
        (b"[]", "must be a JSON Web Key Set"),
        (b'{"keys": {}}', "must be a JSON Web Key Set"),
        (json.dumps(EC.jwk()).encode(), "must be a JSON Web Key Set"),
    ],
)
def test_a_file_that_is_no_key_set_leaves_the_keys_before_and_is_logged_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, text: bytes, words: str
) -> None:
    file = tmp_path / "jwks.json"
    accepted = settings.Tokens(jwks=file, issuer="i", audiences=("a",))
    store = jwks.Store(accepted, tmp_path)
    assert store.read().names is None
    file.write_text(key_set([EC]))
    before = store.read()
    assert set(before.names or {}) == {"ES256/ec"}
    file.write_bytes(text)
    caplog.clear()
    with caplog.at_level(logging.ERROR):
        for _ in range(2):
            found = store.read()
            assert (found.names, found.pems) == (before.names, before.pems)
            assert words in (found.error or "")
    assert len(caplog.records) == 1
    file.write_bytes(b" " * (jwks.FILE_BYTES_MAX + 1))
    assert "must have at most 262144 bytes" in (store.read().error or "")
    file.unlink()
    assert "No such file" in (store.read().error or "")


def test_a_key_has_a_file_until_it_is_removed(tmp_path: Path) -> None:
    file = tmp_path / "jwks.json"
    store = jwks.Store(settings.Tokens(jwks=file, issuer="i", audiences=("a",)), tmp_path)
    store.read()
    store.write()
    assert not list(tmp_path.glob("*.pem"))
    file.write_text(key_set([EC, RSA]))
    store.read()
    store.write()
    assert sorted(each.read_text() for each in tmp_path.glob("*.pem")) == sorted(
        key.public_pem.decode() for key in (EC, RSA)
    )
    file.write_text(key_set([EC]))
    store.read()
    store.write()
    assert [each.read_text() for each in tmp_path.glob("*.pem")] == [EC.public_pem.decode()]


def test_keys_that_could_not_be_written_are_written_the_next_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "jwks.json"
    store = jwks.Store(settings.Tokens(jwks=file, issuer="i", audiences=("a",)), tmp_path)
    file.write_text(key_set([EC, RSA]))

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as full:
        full.setattr(files, "write", refuse)
        assert len(store.read().pems) == 2
        with pytest.raises(OSError, match="No space"):
            store.write()
    store.read()
    store.write()
    assert len(list(tmp_path.glob("*.pem"))) == 2
    file.write_text(key_set([EC]))
    with monkeypatch.context() as full:
        full.setattr(files, "write", refuse)
        store.read()
        store.write()
    assert [each.read_text() for each in tmp_path.glob("*.pem")] == [EC.public_pem.decode()], "that needs no space"


NEEDED = ("--listen=127.0.0.1:8080", "--admin=127.0.0.1:8081", "--state-dir=x")
TOKENS = ("--jwks=keys", "--jwt-issuer=https://issuer.example.org", "--jwt-audience=models", "--internal-port=8082")


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (TOKENS[:3], "--jwks requires --internal-port"),
        (("--jwks=keys", "--internal-port=8082"), "--jwks requires --jwt-issuer and --jwt-audience"),
        (("--jwt-audience=a",), "--jwt-audience requires --jwks"),
        (("--jwt-clock-skew=0",), "--jwt-clock-skew requires --jwks"),
        ((*TOKENS, "--jwt-clock-skew=301"), "from 0 to 300"),
        ((*TOKENS, "--jwt-issuer=it's"), "must be 1 to 300 letters"),
        ((*TOKENS, "--jwt-audience=a b"), "must be 1 to 300 letters"),
        ((*TOKENS, "--jwt-algorithm=HS256"), "invalid choice: 'HS256'"),
        ((*TOKENS, "--jwt-claim=scope"), "the name of a claim and 1 to 16 values after it"),
        ((*TOKENS, "--jwt-claim=scope  a"), "must be 1 to 300 letters"),
        ((*TOKENS, *(f"--jwt-audience={number}" for number in range(16))), "16 times at most"),
        ((*TOKENS, *(f"--jwt-claim=a{number} b" for number in range(9))), "8 times at most"),
    ],
)
def test_flags_that_are_no_use_are_one_sentence(
    capsys: pytest.CaptureFixture[str], flags: tuple[str, ...], words: str
) -> None:
    with pytest.raises(SystemExit):
        main.parse_settings((*NEEDED, *flags))
    assert words in capsys.readouterr().err


def test_the_flags_say_which_tokens_are_accepted() -> None:
    flags = ("--jwt-algorithm=ES256", "--jwt-clock-skew=0", "--jwt-claim=scope a b", "--jwt-audience=other")
    assert main.parse_settings((*NEEDED, *TOKENS, *flags)).tokens == settings.Tokens(
        jwks=Path("keys"),
        issuer="https://issuer.example.org",
        audiences=("models", "other"),
        algorithms=("ES256",),
        clock_skew_s=0,
        required_claims=(settings.RequiredClaim(name="scope", values=("a", "b")),),
    )
