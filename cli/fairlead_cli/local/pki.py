"""The cluster's own certificate authority, its certificates and its service-account key; keys are 0600."""

from __future__ import annotations

import dataclasses
import datetime
import ipaddress
import os
import pathlib
from collections.abc import Sequence

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509 import oid

_LIFETIME = datetime.timedelta(days=365)
_SKEW = datetime.timedelta(minutes=5)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class KeyPair:
    certificate: pathlib.Path
    key: pathlib.Path


def _write(path: pathlib.Path, content: bytes) -> None:
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(content)


def _pem(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )


class Authority:
    """Signs the certificates of one cluster; its key stays in memory and is gone with this object."""

    def __init__(self, folder: pathlib.Path) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(oid.NameOID.COMMON_NAME, "fairlead-local")])
        constraints = x509.BasicConstraints(ca=True, path_length=0)
        certificate = self._builder(self._name, self._key.public_key()).add_extension(constraints, critical=True)
        _write(self.certificate, self._sign(certificate))

    @property
    def certificate(self) -> pathlib.Path:
        return self._folder / "ca.crt"

    def issue(
        self,
        file_name: str,
        common_name: str,
        *,
        group: str | None = None,
        addresses: Sequence[str] = (),
        names: Sequence[str] = (),
    ) -> KeyPair:
        """Make a certificate for a user (`group`: its Kubernetes group).

        It also serves on loopback, at `addresses` and under the DNS names `names`.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        attributes = [x509.NameAttribute(oid.NameOID.COMMON_NAME, common_name)]
        if group is not None:
            attributes.insert(0, x509.NameAttribute(oid.NameOID.ORGANIZATION_NAME, group))
        served_at = x509.SubjectAlternativeName(
            [
                x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
                x509.IPAddress(ipaddress.ip_address("10.96.0.1")),
                *(x509.IPAddress(ipaddress.ip_address(address)) for address in addresses),
                *(x509.DNSName(name) for name in ("localhost", "kubernetes", "kubernetes.default.svc", *names)),
            ]
        )
        uses = x509.ExtendedKeyUsage([oid.ExtendedKeyUsageOID.CLIENT_AUTH, oid.ExtendedKeyUsageOID.SERVER_AUTH])
        builder = self._builder(x509.Name(attributes), key.public_key())
        builder = builder.add_extension(served_at, critical=False).add_extension(uses, critical=False)
        pair = KeyPair(certificate=self._folder / f"{file_name}.crt", key=self._folder / f"{file_name}.key")
        _write(pair.key, _pem(key))
        _write(pair.certificate, self._sign(builder))
        return pair

    def service_account_key(self) -> pathlib.Path:
        """Make the key that signs service-account tokens and verifies them."""
        path = self._folder / "service-account.key"
        _write(path, _pem(rsa.generate_private_key(public_exponent=65537, key_size=2048)))
        return path

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.UTC)
        return x509.CertificateBuilder(
            issuer_name=self._name,
            subject_name=subject,
            public_key=key,
            serial_number=x509.random_serial_number(),
            not_valid_before=now - _SKEW,
            not_valid_after=now + _LIFETIME,
        )

    def _sign(self, builder: x509.CertificateBuilder) -> bytes:
        return builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
