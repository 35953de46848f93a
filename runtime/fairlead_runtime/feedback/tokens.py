"""The token of one answer: who predicted what and when, signed. Bytes in, bytes out; nothing is kept.

Layout, base64url without padding: version 1, context id (4), revision (5), nonce (8), issue time in seconds (4), kind
(1), then the top of each row (4: a class as an unsigned number, a number as float32), then HMAC-SHA256 of all that,
cut to 16 bytes (RFC 2104, 5: no less than half of the digest).
"""

from __future__ import annotations

import base64
import binascii
import hmac
import secrets
import struct
import time
from dataclasses import dataclass
from enum import StrEnum

from fairlead_runtime.feedback import mac
from fairlead_runtime.inference.tops import ROWS_MAX, Kind, Tops

HEADER = b"x-fairlead-feedback"
VERSION = 1
MAC_BYTES = 16
AGE_S_MAX = 30 * 86_400
"""An older token is refused: what a leaked one can do ends."""

_HEAD = struct.Struct(">B4s5sQIB")
_CLASS, _NUMBER = 0, 1
_FORMATS = {_CLASS: "I", _NUMBER: "f"}
_KINDS = {_CLASS: Kind.CLASS, _NUMBER: Kind.NUMBER}
_URL_SAFE = bytes.maketrans(b"+/", b"-_")
_CHARACTERS_MAX = -(-(_HEAD.size + 4 * ROWS_MAX + MAC_BYTES) * 4 // 3)


class TokenFault(StrEnum):
    """Why a token isn't taken."""

    MALFORMED = "malformed"
    FOREIGN = "foreign"
    FORGED = "forged"
    EXPIRED = "expired"


class TokenError(Exception):
    """A token isn't taken; the text is for its sender."""

    def __init__(self, fault: TokenFault, sentence: str) -> None:
        super().__init__(sentence)
        self.fault = fault
        self.sentence = sentence


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """What a genuine token says. The values are those that the label is compared with."""

    revision: str
    nonce: int
    issued_s: int
    kind: Kind
    values: tuple[float, ...]


class Signer:
    """Issues the tokens of one revision, and reads those of any revision of its model."""

    def __init__(self, key: bytes, *, context: bytes, revision: str) -> None:
        self._sign = mac.Mac(key, MAC_BYTES).sign
        self._context = context
        self._prefix = struct.pack(">B4s5s", VERSION, context, bytes.fromhex(revision))
        # Counted from a random start: no system call, and two replicas meet with a chance of one in billions.
        self._nonce = secrets.randbits(64)
        # By the number of rows; what a name or an enumeration would cost is a good part of the rest.
        self._classes = [struct.Struct(f">QIB{rows}{_FORMATS[_CLASS]}") for rows in range(ROWS_MAX + 1)]
        self._numbers = [struct.Struct(f">QIB{rows}{_FORMATS[_NUMBER]}") for rows in range(ROWS_MAX + 1)]

    def issue(self, tops: Tops) -> bytes:
        """The header's value; empty where a number exceeds what a token can hold."""
        self._nonce = (self._nonce + 1) & 0xFFFF_FFFF_FFFF_FFFF
        number, forms = (_CLASS, self._classes) if tops.kind is Kind.CLASS else (_NUMBER, self._numbers)
        values = tops.values
        try:
            payload = self._prefix + forms[len(values)].pack(self._nonce, int(time.time()), number, *values)
        except OverflowError:
            return b""
        return _encode(payload + self._sign(payload))

    def read(self, text: str, now_s: float) -> Token:
        """Raises TokenError."""
        payload, given = _split(text)
        version, context, revision, nonce, issued_s, kind_number = _HEAD.unpack_from(payload)
        if version != VERSION:
            raise TokenError(TokenFault.MALFORMED, f"this replica reads tokens of version {VERSION} alone")
        if context != self._context:
            raise TokenError(TokenFault.FOREIGN, "the token is of another model or namespace")
        if not hmac.compare_digest(given, self._sign(payload)):
            raise TokenError(TokenFault.FORGED, "the token was not issued by this model's replicas, or was changed")
        if now_s - issued_s > AGE_S_MAX:
            raise TokenError(TokenFault.EXPIRED, f"the token is older than {AGE_S_MAX // 86_400} days")
        rows = (len(payload) - _HEAD.size) // 4
        values = struct.unpack_from(f">{rows}{_FORMATS[kind_number]}", payload, _HEAD.size)
        return Token(revision=revision.hex(), nonce=nonce, issued_s=issued_s, kind=_KINDS[kind_number], values=values)


def _encode(raw: bytes) -> bytes:
    return binascii.b2a_base64(raw, newline=False).translate(_URL_SAFE, b"=")


def _split(text: str) -> tuple[bytes, bytes]:
    """Payload and signature; of no more than a token can be long."""
    malformed = TokenError(TokenFault.MALFORMED, "the token is not one of the form that answers carry")
    if len(text) > _CHARACTERS_MAX:
        raise malformed
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise malformed from None
    rows, rest = divmod(len(raw) - _HEAD.size - MAC_BYTES, 4)
    # The last character of base64 may carry bits that mean nothing: of the forms of one token only its own is taken.
    if rest or not 1 <= rows <= ROWS_MAX or _encode(raw) != text.encode():
        raise malformed
    return raw[:-MAC_BYTES], raw[-MAC_BYTES:]
