"""Which rules the requests of an account used, from the API server's audit log, reads included."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from fairlead_cli.local import cluster

READS_AS_WELL = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [
        {"level": "None", "userGroups": ["system:serviceaccounts:kube-system"]},
        {"level": "Metadata", "userGroups": ["system:serviceaccounts"]},
    ],
}
_ALLOWED_BY = re.compile(r'RBAC: allowed by .* of (?:Cluster)?Role "([^"]+)"')


class Rule(NamedTuple):
    """One verb on one resource in a role; ``only`` is the name that it is limited to, or ``*``."""

    role: str
    resource: str
    verb: str
    only: str


def audit_reads(kubernetes: cluster.LocalCluster) -> None:
    """Have the API server record each request of service accounts."""
    (kubernetes.root / "audit-policy.json").write_text(json.dumps(READS_AS_WELL))
    kubernetes.restart("kube-apiserver")


def refused(log: Path, user: str) -> set[tuple[str, str | None]]:
    """The requests of a user that no rule allows, and in which namespace."""
    return {
        (f"{entry['verb']} {_resource(entry['objectRef'])}", entry["objectRef"].get("namespace"))
        for entry in _entries(log, user)
        if entry["annotations"]["authorization.k8s.io/decision"] == "forbid"
    }


def used(log: Path, user: str, rules: set[Rule]) -> set[Rule]:
    """Those of the rules that a request of the user needed."""
    return {rule for entry in _entries(log, user) for rule in rules if _needs(entry, rule)}


def _needs(entry: Mapping[str, Any], rule: Rule) -> bool:
    """Whether the request was allowed by this rule.

    An apply of an object that isn't there is a patch that needs `create` as well; it is answered with 201.
    """
    allowed_by = _ALLOWED_BY.search(entry["annotations"].get("authorization.k8s.io/reason", ""))
    about = entry["objectRef"]
    verbs = {entry["verb"]} | ({"create"} if entry["responseStatus"]["code"] == 201 else set())
    return (
        allowed_by is not None
        and allowed_by.group(1) == rule.role
        and _resource(about) == rule.resource
        and rule.verb in verbs
        and rule.only in ("*", about.get("name"))
    )


def _resource(about: Mapping[str, Any]) -> str:
    whole = "/".join(filter(None, (about["resource"], about.get("subresource"))))
    return resource_name(whole, about.get("apiGroup", ""))


def resource_name(resource: str, group: str) -> str:
    """As kubectl prints it, the subresource at the end: `modeldeployments.fairlead.dev/status`."""
    kind, _, subresource = resource.partition("/")
    return "/".join(filter(None, (f"{kind}.{group}".rstrip("."), subresource)))


def _entries(log: Path, user: str) -> Iterator[Mapping[str, Any]]:
    """A watch is recorded when it starts and when it ends; either will do."""
    with log.open("rb") as lines:
        for line in lines:
            entry = json.loads(line)
            if entry["user"]["username"] == user and "objectRef" in entry and "responseStatus" in entry:
                yield entry
