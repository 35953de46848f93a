"""Certificates for tests, made when they are needed."""

from __future__ import annotations

import datetime
import ipaddress
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


@dataclass(frozen=True)
class Pair:
    """A self-signed certificate for loopback and its key, in PEM form."""

    certificate: bytes
    key: bytes
    serial: int

    def write(self, certificate: Path, key: Path) -> None:
        """Replace both files, each whole."""
        for path, content in ((key, self.key), (certificate, self.certificate)):
            temporary = path.with_suffix(".new")
            temporary.write_bytes(content)
            temporary.replace(path)


def make_pair(*, days: int = 30) -> Pair:
    """A new pair that is valid for so many days; negative: it has ended then."""
    key = ec.generate_private_key(ec.SECP256R1())
    serial = x509.random_serial_number()
    # A name of its own: a client that trusts several finds the right one by it.
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"gateway {serial}")])
    now = datetime.datetime.now(datetime.UTC)
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(serial)
        .not_valid_before(now - datetime.timedelta(days=90))
        .not_valid_after(now + datetime.timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    encoding = serialization.Encoding.PEM
    private = key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return Pair(certificate=made.public_bytes(encoding), key=private, serial=serial)
