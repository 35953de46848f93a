"""What a service account may do, as the API server itself lists it, in lines for golden files."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fairlead_cli.local import cluster

NOBODY = ("kube-public", "default")
"""A service account that nothing is bound to: what it may do, every account may."""


def may(kubernetes: cluster.LocalCluster, account: tuple[str, str], *, namespace: str) -> list[str]:
    """What the account (namespace, name) may do in a namespace, beyond what every service account may."""
    everybody = set(_lines(_review(kubernetes, NOBODY, namespace)))
    return [line for line in _lines(_review(kubernetes, account, namespace)) if line not in everybody]


def everybody_may(kubernetes: cluster.LocalCluster) -> list[str]:
    return _lines(_review(kubernetes, NOBODY, NOBODY[0]))


def _review(kubernetes: cluster.LocalCluster, account: tuple[str, str], namespace: str) -> Mapping[str, Any]:
    """By the account's own token."""
    config: Path = kubernetes.service_account_kubeconfig(*account)
    question = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectRulesReview",
        "spec": {"namespace": namespace},
    }
    done = kubernetes.kubectl(
        f"--kubeconfig={config}",
        "create",
        "--validate=false",
        "--filename=-",
        "--output=json",
        input=json.dumps(question),
    )
    assert done.returncode == 0, done.stderr
    status: Mapping[str, Any] = json.loads(done.stdout)["status"]
    assert not status["incomplete"], status
    return status


def _lines(status: Mapping[str, Any]) -> list[str]:
    verbs: dict[str, set[str]] = defaultdict(set)
    for rule in status["resourceRules"]:
        for group in rule["apiGroups"]:
            for resource in rule["resources"]:
                verbs[_resource(resource, group, rule.get("resourceNames", []))].update(rule["verbs"])
    for rule in status["nonResourceRules"]:
        for path in rule["nonResourceURLs"]:
            verbs[path].update(rule["verbs"])
    return [f"{what}: {' '.join(sorted(allowed))}" for what, allowed in sorted(verbs.items())]


def _resource(resource: str, group: str, names: list[str]) -> str:
    kind, _, subresource = resource.partition("/")
    whole = "/".join(filter(None, (f"{kind}.{group}".rstrip("."), subresource)))
    return f"{whole} {' '.join(sorted(names))}" if names else whole
