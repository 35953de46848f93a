"""To which hosts a Secret may be sent. The platform says so: who writes a ModelDeployment chooses Secret and URL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fairlead_runtime.errors import LoadError, LoadReason
from fairlead_runtime.model.fetching import host_patterns
from fairlead_runtime.model.fetching.purposes import MODELS, Purpose

EVERY = "*"


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretHosts:
    """A Secret and its hosts."""

    name: str
    hosts: Sequence[str]
    purpose: Purpose = MODELS

    def check(self, host: str) -> None:
        """Raises LoadError (ModelForbidden) for a host that the platform does not list for the Secret."""
        if not host_patterns.match_any(host, self.hosts):
            to = self.purpose
            raise LoadError(
                LoadReason.MODEL_FORBIDDEN,
                f"Secret {self.name} ({to.named_by}) must not be sent to host {host}. Add the host to "
                f"{to.field}.credentials of the ServingClass ({_setting(to)} of the Ray node; allowed now: "
                f"{', '.join(self.hosts) or 'no host'})",
            )


def find(name: str, known: Mapping[str, Sequence[str]], purpose: Purpose = MODELS) -> SecretHosts:
    """The hosts of one Secret: its own, or those for every Secret, or none."""
    return SecretHosts(name=name, hosts=known.get(name, known.get(EVERY, ())), purpose=purpose)


def parse(text: str, purpose: Purpose = MODELS) -> Mapping[str, Sequence[str]]:
    """Hosts by Secret, as in `reader=a.example.org,*.example.net;other=b`; raises LoadError (NodeMisconfigured)."""
    setting = _setting(purpose)
    found: dict[str, Sequence[str]] = {}
    for each in host_patterns.split(text, ";"):
        name, _, hosts = (part.strip() for part in each.partition("="))
        patterns = host_patterns.parse(hosts, setting)
        if not name or not patterns or name in found:
            raise host_patterns.setting_error(
                setting, f"{each!r} must be a Secret that comes once and its hosts, as in reader=models.example.org"
            )
        found[name] = patterns
    return found


def _setting(purpose: Purpose) -> str:
    return f"{purpose.variable}_CREDENTIALS"
