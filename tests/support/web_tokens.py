"""An issuer of JSON Web Tokens for tests: its keys as a JSON Web Key Set, and tokens of any form."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils

ISSUER, AUDIENCE = "https://issuer.example.org/realms/models", "models"
_HASHES = {"256": hashes.SHA256(), "384": hashes.SHA384(), "512": hashes.SHA512()}
_CURVES: dict[str, ec.EllipticCurve] = {"ES256": ec.SECP256R1(), "ES384": ec.SECP384R1(), "ES512": ec.SECP521R1()}


def encode(content: bytes) -> str:
    """base64url without padding."""
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def claims(**changed: Any) -> dict[str, Any]:
    """What a right token claims for the next five minutes; a claim that is None is left out."""
    now = int(time.time())
    made = {"iss": ISSUER, "aud": AUDIENCE, "sub": "team-a", "iat": now, "nbf": now, "exp": now + 300, **changed}
    return {name: value for name, value in made.items() if value is not None}


@dataclass
class Key:
    """A key of the issuer, with its algorithm and its name."""

    kid: str
    algorithm: str
    private: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey

    @property
    def public_pem(self) -> bytes:
        return self.private.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )

    def jwk(self, **changed: Any) -> dict[str, Any]:
        """As in a JSON Web Key Set; a member that is None is left out."""
        found: dict[str, Any] = {"kid": self.kid, "alg": self.algorithm, "use": "sig"}
        if isinstance(self.private, rsa.RSAPrivateKey):
            public = self.private.public_key().public_numbers()
            found |= {"kty": "RSA", "n": _number(public.n), "e": _number(public.e)}
        else:
            point = self.private.public_key().public_numbers()
            size = (self.private.curve.key_size + 7) // 8
            curve = self.private.curve.key_size
            found |= {"kty": "EC", "crv": f"P-{curve}", "x": _number(point.x, size), "y": _number(point.y, size)}
        return {name: value for name, value in (found | changed).items() if value is not None}

    def sign(self, text: str) -> bytes:
        """The signature of a token's first two parts."""
        digest = _HASHES[self.algorithm[2:]]
        if isinstance(self.private, ec.EllipticCurvePrivateKey):
            size = (self.private.curve.key_size + 7) // 8
            r, s = utils.decode_dss_signature(self.private.sign(text.encode(), ec.ECDSA(digest)))
            return r.to_bytes(size) + s.to_bytes(size)
        if self.algorithm.startswith("PS"):
            salted = padding.PSS(mgf=padding.MGF1(digest), salt_length=digest.digest_size)
            return self.private.sign(text.encode(), salted, digest)
        return self.private.sign(text.encode(), padding.PKCS1v15(), digest)

    def token(self, body: Mapping[str, Any] | str | None = None, header: Mapping[str, Any] | str | None = None) -> str:
        """A token that this key signed; a body or a header that is text is taken as it is."""
        head: Any = {"alg": self.algorithm, "kid": self.kid, "typ": "JWT"} if header is None else header
        parts = (head, claims() if body is None else body)
        text = ".".join(encode((each if isinstance(each, str) else json.dumps(each)).encode()) for each in parts)
        return f"{text}.{encode(self.sign(text))}"


def make_key(kid: str, algorithm: str = "ES256", *, bits: int = 2048) -> Key:
    private: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
    if algorithm in _CURVES:
        private = ec.generate_private_key(_CURVES[algorithm])
    else:
        private = rsa.generate_private_key(public_exponent=65537, key_size=bits)
    return Key(kid, algorithm, private)


def key_set(keys: Iterable[Key | Mapping[str, Any]]) -> str:
    """A JSON Web Key Set."""
    return json.dumps({"keys": [each.jwk() if isinstance(each, Key) else each for each in keys]})


def _number(value: int, size: int | None = None) -> str:
    return encode(value.to_bytes(size or (value.bit_length() + 7) // 8))
