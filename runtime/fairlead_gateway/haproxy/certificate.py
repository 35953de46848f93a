"""The certificate of the data port: read from files, checked, and kept in one file that HAProxy reads.

A pair that can't be used never replaces one that can. Nothing of a file's content is in an error or a log line.
"""

import hashlib
import logging
import re
import ssl
from dataclasses import dataclass, field
from pathlib import Path

from fairlead_gateway import files, settings
from fairlead_gateway.haproxy import access

_log = logging.getLogger(__name__)

BYTES_MAX = 32 * 1024
"""Of the certificate with its chain and the key: half of HAProxy's buffer, which bounds a command."""

_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----")
_KEY = re.compile(r"-----BEGIN ((?:RSA |EC )?PRIVATE KEY)-----[A-Za-z0-9+/=\s]+-----END \1-----")
_SHOWN = re.compile(r"^(notAfter|SHA1 FingerPrint): (.+)$", re.MULTILINE)


class CertificateError(Exception):
    """The files hold no usable certificate with its key; the message names the file and what would be right."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """A certificate with its chain and its key as PEM, and the SHA-1 by which HAProxy names the certificate."""

    pem: str = field(repr=False)
    fingerprint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """What HAProxy uses: the SHA-1 of the certificate, and the end of its validity in seconds since 1970."""

    fingerprint: str
    expires_at: float | None


def read_pair(found: settings.TlsFiles) -> Certificate:
    """Read the two files.

    Raises:
        CertificateError: when one of them can't be read or has another form. That the key is the certificate's is
            checked by `Store`.
    """
    certificates = _CERTIFICATE.findall(_read(found.certificate))
    key = _KEY.search(_read(found.key))
    if not certificates:
        raise CertificateError(f"{found.certificate}: must be a certificate in PEM form, followed by its chain")
    if key is None:
        raise CertificateError(f"{found.key}: must be a private key in PEM form without a password")
    blocks = "\n".join((*certificates, key[0]))
    # An empty line would end the command that hands it to HAProxy.
    pem = "".join(f"{line.strip()}\n" for line in blocks.splitlines() if line.strip())
    if len(pem) > BYTES_MAX:
        raise CertificateError(f"{found.certificate}: must have at most {BYTES_MAX} bytes together with its key")
    try:
        der = ssl.PEM_cert_to_DER_cert(certificates[0])
    except ValueError:
        raise CertificateError(f"{found.certificate}: the first certificate is damaged") from None
    return Certificate(pem=pem, fingerprint=hashlib.sha1(der, usedforsecurity=False).hexdigest().upper())


def parse_shown(text: str) -> Shown | None:
    """`show ssl cert`; None where HAProxy has no such certificate.

    Source: https://docs.haproxy.org/2.8/management.html#9.3-show%20ssl%20cert
    """
    found = {key: value.strip() for key, value in _SHOWN.findall(text)}
    if "SHA1 FingerPrint" not in found:
        return None
    try:
        expires_at: float | None = float(ssl.cert_time_to_seconds(found.get("notAfter", "")))
    except ValueError:
        expires_at = None
    return Shown(fingerprint=found["SHA1 FingerPrint"], expires_at=expires_at)


class Store:
    """The pair that HAProxy is to use: that of the files, or the last good one while they hold none."""

    def __init__(self, found: settings.TlsFiles, folder: Path) -> None:
        self._files = found
        self._path = folder / access.TLS_FILE
        self.error: str | None = None
        """Why the files are not used; None where they are."""
        self._expired_at: float | None = None

    def read(self) -> Certificate | None:
        """The pair to use; None where there never was one."""
        try:
            current = read_pair(self._files)
            self._check(current)
        except CertificateError as error:
            self._note(str(error))
            return self._read_kept()
        self._note(None)
        return current

    def keep(self, current: Certificate) -> None:
        """Write the pair where HAProxy finds it when it starts."""
        if not self.is_kept(current):
            files.write_private(self._path, current.pem)

    def is_kept(self, current: Certificate) -> bool:
        """Whether HAProxy finds this pair when it starts."""
        try:
            return self._path.read_text() == current.pem
        except OSError:
            return False

    def is_first_expiry(self, expires_at: float, now: float) -> bool:
        """Whether a certificate is seen for the first time after its end; both times are in seconds since 1970."""
        if expires_at > now or expires_at == self._expired_at:
            return False
        self._expired_at = expires_at
        return True

    def note_refusal(self, answer: str) -> None:
        """HAProxy did not take the pair: it goes on with the one that it has."""
        self._note(f"HAProxy refused {self._files.certificate}: {answer}")

    def _check(self, current: Certificate) -> None:
        if self.is_kept(current):
            return
        candidate = self._path.with_name(f"{access.TLS_FILE}.candidate")
        files.write_private(candidate, current.pem)
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(candidate, password=lambda: b"")
        except (ssl.SSLError, ValueError) as error:
            reason = getattr(error, "reason", None) or "it is damaged"
            raise CertificateError(
                f"{self._files.key} is not the private key of {self._files.certificate}, or one of them is not "
                f"supported: {reason}"
            ) from None
        finally:
            candidate.unlink()

    def _read_kept(self) -> Certificate | None:
        kept = settings.TlsFiles(certificate=self._path, key=self._path)
        try:
            return read_pair(kept)
        except CertificateError:
            return None

    def _note(self, error: str | None) -> None:
        if error is not None and error != self.error:
            _log.error("certificate refused error=%s", error)
        self.error = error


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(BYTES_MAX + 1)
    except OSError as error:
        raise CertificateError(f"{path}: {error.strerror or 'cannot be read'}") from None
    if len(content) > BYTES_MAX:
        raise CertificateError(f"{path}: must have at most {BYTES_MAX} bytes")
    return content.decode("ascii", errors="replace")
