"""To which hosts a Secret may be sent. The platform says so: the author of a model chooses Secret, URI and endpoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fairlead_runtime.errors import LoadError, LoadReason
from fairlead_runtime.model.fetching import credentials, host_patterns

SETTING = "FAIRLEAD_SOURCE_CREDENTIALS"
EVERY = "*"


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretHosts:
    """A Secret and its hosts."""

    name: str
    hosts: Sequence[str]

    def check(self, host: str) -> None:
        """Raises LoadError (ModelForbidden) for a host that the platform does not list for the Secret."""
        if not host_patterns.match_any(host, self.hosts):
            raise LoadError(
                LoadReason.MODEL_FORBIDDEN,
                f"Secret {self.name} ({credentials.FIELD}) must not be sent to host {host}. Add the host to "
                f"spec.sources.credentials of the ServingClass ({SETTING} of the Ray node; allowed now: "
                f"{', '.join(self.hosts) or 'no host'})",
            )


def find(name: str, known: Mapping[str, Sequence[str]]) -> SecretHosts:
    """The hosts of one Secret: its own, or those for every Secret, or none."""
    return SecretHosts(name=name, hosts=known.get(name, known.get(EVERY, ())))


def parse(text: str) -> Mapping[str, Sequence[str]]:
    """Hosts by Secret, as in `reader=a.example.org,*.example.net;other=b`; raises LoadError (NodeMisconfigured)."""
    found: dict[str, Sequence[str]] = {}
    for each in host_patterns.split(text, ";"):
        name, _, hosts = (part.strip() for part in each.partition("="))
        patterns = host_patterns.parse(hosts, SETTING)
        if not name or not patterns or name in found:
            raise host_patterns.setting_error(
                SETTING, f"{each!r} must be a Secret that comes once and its hosts, as in reader=models.example.org"
            )
        found[name] = patterns
    return found
