"""The public keys that sign the tokens of clients: read from a JSON Web Key Set, checked, and written for HAProxy.

The file is a mounted ConfigMap. A key belongs to one algorithm, and a token that names another one finds no key.

Source: https://www.rfc-editor.org/rfc/rfc7517 and https://www.rfc-editor.org/rfc/rfc7518#section-6
"""

import base64
import dataclasses
import hashlib
import json
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from fairlead_gateway import files, settings
from fairlead_gateway.haproxy import tokens

_log = logging.getLogger(__name__)

FILE_BYTES_MAX = 256 * 1024
KEYS_MAX = 32
"""More than an issuer has that renews its keys every day."""

KID = re.compile(r"[A-Za-z0-9._~:/+=@-]{1,128}")
RSA_BITS = (2048, 4096)
"""A signature by a longer key takes longer to check than a request takes."""

_RSA = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
_BASE64URL = re.compile(r"[A-Za-z0-9_-]+")


class JwksError(Exception):
    """The file can't be used as a whole; the message says what would be right."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Keys:
    """The keys to check tokens by; `names` is None while none were ever read.

    `names` has the name of the key for each `ALGORITHM/KID`, `pems` the key itself for each name. `refused` are the
    keys that are not used, each with the reason; `error` is why the file can't be used.
    """

    names: Mapping[str, str] | None = None
    pems: Mapping[str, str] = field(default_factory=dict)
    refused: Mapping[str, str] = field(default_factory=dict)
    error: str | None = None


_CURVES: Mapping[str, tuple[str, ec.EllipticCurve]] = {
    "P-256": ("ES256", ec.SECP256R1()),
    "P-384": ("ES384", ec.SECP384R1()),
}
PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey


def parse(text: bytes, algorithms: tuple[str, ...]) -> Keys:
    """Read a key set. A key that can't be used takes away only the tokens that it signed.

    Of more than `KEYS_MAX` keys that can be used the first are: to go on with those before would keep a removed one.

    Raises:
        JwksError: when the text is no key set.
    """
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        raise JwksError('must be JSON, as in {"keys": [{"kty": "RSA", "kid": …, "n": …, "e": "AQAB"}]}') from None
    listed = found.get("keys") if isinstance(found, dict) else None
    if not isinstance(listed, list):
        raise JwksError("must be a JSON Web Key Set: an object whose member keys is a list")
    names: dict[str, str] = {}
    pems: dict[str, str] = {}
    refused: dict[str, str] = {}
    for place, each in enumerate(listed):
        if isinstance(each, dict) and each.get("use") == "enc":
            continue  # issuers list keys for encryption beside those for signatures
        shown = _name_of(place, each)
        try:
            algorithm, kid, key = _parse_key(each)
            if algorithm not in algorithms:
                raise ValueError(f"its algorithm {algorithm} is not one of {', '.join(algorithms)}")
            if f"{algorithm}/{kid}" in names:
                raise ValueError("another key has the same kid")
            if len(names) >= KEYS_MAX:
                raise ValueError(f"at most {KEYS_MAX} keys are possible")
        except ValueError as error:
            refused[shown] = str(error)
            continue
        der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        name = f"{algorithm}-{hashlib.sha256(der).hexdigest()[:32]}"
        names[f"{algorithm}/{kid}"] = name
        pems[name] = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    return Keys(names=names, pems=pems, refused=refused)


class Store:
    """The keys of a file, or the last ones while it can't be used; HAProxy finds them in a folder."""

    def __init__(self, found: settings.Tokens, folder: Path) -> None:
        self._path = found.jwks
        self._algorithms = found.algorithms
        self._folder = folder
        self._last = Keys()
        self._written: frozenset[str] = frozenset()

    def read(self) -> Keys:
        """The keys to accept now."""
        before = self._last
        try:
            self._last = parse(_read(self._path), self._algorithms)
        except JwksError as error:
            reason = f"{self._path}: {error}"
            self._last = dataclasses.replace(before, error=reason)
            if before.error != reason:
                _log.error("token keys unreadable error=%s", reason)
            return self._last
        for name, reason in self._last.refused.items():
            if before.refused.get(name) != reason:
                _log.error("token key refused key=%s reason=%s", name, reason)
        if self._last.names != before.names:
            _log.info("token keys read keys=%d", len(self._last.pems))
        return self._last

    def write(self) -> None:
        """Write the keys that were read last: each in a file with its digest as the name, whose content never changes.

        Raises:
            OSError: when one can't be written; the next call tries again.
        """
        wanted = {tokens.key_file(name): pem for name, pem in self._last.pems.items()}
        if self._last.names is None or self._written == wanted.keys():
            return
        for name, pem in wanted.items():
            if name not in self._written:
                files.write(self._folder / name, pem)
        self._written = frozenset(wanted)
        # HAProxy has read the others, and starts with the configuration that is written for these.
        for path in self._folder.glob(tokens.key_file("*")):
            if path.name not in wanted:
                path.unlink()


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise JwksError(error.strerror or "cannot be read") from None
    if len(content) > FILE_BYTES_MAX:
        raise JwksError(f"must have at most {FILE_BYTES_MAX} bytes")
    return content


def _name_of(place: int, found: Any) -> str:
    """A key in the log: where it stands and, if that can be shown, what it is called."""
    kid = found.get("kid") if isinstance(found, dict) else None
    is_name = isinstance(kid, str) and KID.fullmatch(kid) is not None
    return f"keys[{place}] kid={kid}" if is_name else f"keys[{place}]"


def _parse_key(found: Any) -> tuple[str, str, PublicKey]:
    """Algorithm, name and the key itself."""
    if not isinstance(found, dict):
        raise ValueError("must be an object")
    if {"d", "k", "p", "q"} & found.keys():
        raise ValueError(
            "has a secret part: list public keys alone, and replace this key at its issuer, as it is no secret any more"
        )
    kid = found.get("kid")
    if not isinstance(kid, str) or KID.fullmatch(kid) is None:
        raise ValueError("kid must be 1 to 128 letters, digits and characters of ._~:/+=@-")
    _check_use(found)
    if found.get("kty") == "RSA":
        return _choose(found, _RSA), kid, _parse_rsa(found)
    name = str(found.get("crv")) if found.get("kty") == "EC" else ""
    if name not in _CURVES:
        raise ValueError("must have kty RSA, or kty EC with crv P-256 or P-384")
    algorithm, curve = _CURVES[name]
    return _choose(found, (algorithm,)), kid, _parse_ec(found, curve)


def _check_use(found: Mapping[str, Any]) -> None:
    if found.get("use", "sig") != "sig":
        raise ValueError("use must be sig or be left out")
    operations = found.get("key_ops", ["verify"])
    if not isinstance(operations, list) or "verify" not in operations:
        raise ValueError("key_ops must have verify or be left out")


def _choose(found: Mapping[str, Any], possible: tuple[str, ...]) -> str:
    """The one algorithm of a key: what it says itself, or the most common one of its kind."""
    algorithm = found.get("alg", possible[0])
    if algorithm not in possible:
        raise ValueError(f"alg must be {' or '.join(possible)} for such a key")
    return str(algorithm)


def _parse_rsa(found: Mapping[str, Any]) -> rsa.RSAPublicKey:
    modulus, exponent = _decode(found, "n"), _decode(found, "e")
    bits = int.from_bytes(modulus).bit_length()
    if not RSA_BITS[0] <= bits <= RSA_BITS[1] or not modulus[-1] & 1:
        raise ValueError(f"n must be the modulus of an RSA key with {RSA_BITS[0]} to {RSA_BITS[1]} bits, has {bits}")
    if not 65537 <= int.from_bytes(exponent) < 2**32 or not exponent[-1] & 1:
        raise ValueError("e must be an odd number from 65537 to 4294967295, as in AQAB")
    return rsa.RSAPublicNumbers(int.from_bytes(exponent), int.from_bytes(modulus)).public_key()


def _parse_ec(found: Mapping[str, Any], curve: ec.EllipticCurve) -> ec.EllipticCurvePublicKey:
    x, y = _decode(found, "x"), _decode(found, "y")
    size = curve.key_size // 8
    if len(x) != size or len(y) != size:
        raise ValueError(f"x and y must have {size} bytes each")
    try:
        return ec.EllipticCurvePublicNumbers(int.from_bytes(x), int.from_bytes(y), curve).public_key()
    except ValueError:
        raise ValueError("x and y must be a point of the curve") from None


def _decode(found: Mapping[str, Any], member: str) -> bytes:
    text = found.get(member)
    if not isinstance(text, str) or _BASE64URL.fullmatch(text) is None or len(text) % 4 == 1:
        raise ValueError(f"{member} must be text in base64url without padding")
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
