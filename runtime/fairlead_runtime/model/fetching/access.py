"""With what a fetch goes to a model's source: what the model says of it, and what the Ray node has for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import urlsplit

from fairlead_runtime.errors import LoadError, LoadReason, bare_url
from fairlead_runtime.model.fetching import credentials, host_patterns, secret_hosts
from fairlead_runtime.model.fetching.outbound import Outbound

SCHEMES_VARIABLE = "FAIRLEAD_SOURCE_SCHEMES"


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """`endpoint` and `secret` (a name) are the model's; the rest is the same for all models of a Ray node.

    `schemes` are those that a model's URI may have; without any, it may have each.
    """

    endpoint: str | None = None
    secret: str | None = None
    secrets_dir: Path | None = None
    secret_hosts: Mapping[str, Sequence[str]] = field(default_factory=dict)
    claims_dir: Path | None = None
    ca_file: Path | None = None
    schemes: Sequence[str] = ()
    outbound: Outbound = field(default_factory=Outbound)

    def check_scheme(self, uri: str) -> None:
        """Raises LoadError (ModelForbidden) for a URI whose scheme is not among those that the platform allows."""
        scheme = uri.partition(":")[0].lower()
        if self.schemes and scheme not in self.schemes:
            raise LoadError(
                LoadReason.MODEL_FORBIDDEN,
                f"{bare_url(uri)}: models are not read by {scheme}: allowed are {', '.join(self.schemes)} "
                f"(spec.sources.allowedSchemes of the ServingClass, {SCHEMES_VARIABLE} of the Ray node)",
            )

    def read_secret(self) -> Mapping[str, str]:
        """The keys of the model's Secret, nothing where it names none; raises LoadError.

        They may be sent only by way of `outbound_with_secret`, or to where `read_secret_for` allows it.
        """
        return credentials.read(self.secret, self.secrets_dir)

    def read_secret_for(self, url: str) -> Mapping[str, str]:
        """The keys of the model's Secret, if it may be sent to the URL's host; raises LoadError."""
        values = self.read_secret()
        if self.secret is not None:
            secret_hosts.find(self.secret, self.secret_hosts).check(urlsplit(url).hostname or "")
        return values

    def outbound_with_secret(self) -> Outbound:
        """The rules for connections by which the model's Secret may be sent."""
        if self.secret is None:
            return self.outbound
        return replace(self.outbound, secret=secret_hosts.find(self.secret, self.secret_hosts))


def parse_schemes(text: str, known: Sequence[str]) -> tuple[str, ...]:
    """Schemes as in `https, s3`; raises LoadError (NodeMisconfigured)."""
    found = tuple(host_patterns.split(text))
    for each in found:
        if each not in known:
            raise host_patterns.setting_error(SCHEMES_VARIABLE, f"{each!r} must be one of {', '.join(known)}")
    return found
