"""What the workers get for sources and sinks: the platform's rules as variables, Secrets as files, and volumes.

The kubelet mounts a Secret from the pod's own namespace and no other one. So the operator needs no right to read it,
and what is in it appears in no object and in no configuration of Ray.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fairlead_operator.state.serving_class import PayloadSinks, SecretHosts, Sources

SECRETS_FOLDER = "/run/fairlead-sources/secrets"
CLAIMS_FOLDER = "/run/fairlead-sources/claims"


def variables(sources: Sources, sinks: PayloadSinks | None = None) -> list[dict[str, Any]]:
    """The environment variables of a worker's container; what is not set has no variable."""
    given = {
        "FAIRLEAD_SOURCE_SCHEMES": ",".join(sources.schemes),
        "FAIRLEAD_SOURCE_HOSTS": ",".join(sources.hosts),
        "FAIRLEAD_SOURCE_NETWORKS": ",".join(sources.networks),
        "FAIRLEAD_SOURCE_CREDENTIALS": write_credentials(sources.credentials),
        "FAIRLEAD_SOURCE_SECRETS_DIR": SECRETS_FOLDER if _secrets(sources, sinks) else "",
        "FAIRLEAD_SOURCE_CLAIMS_DIR": CLAIMS_FOLDER if sources.claims else "",
        "FAIRLEAD_ALLOWED_OPERATIONS": ",".join(sources.operations),
        "HTTPS_PROXY": sources.https_proxy or "",
        "NO_PROXY": ",".join(sources.no_proxy),
    }
    return [{"name": name, "value": value} for name, value in given.items() if value]


def write_credentials(credentials: Sequence[SecretHosts]) -> str:
    """The hosts of each Secret, as the runtime reads them."""
    return ";".join(f"{each.secret}={','.join(each.hosts)}" for each in credentials)


def volumes(sources: Sources, sinks: PayloadSinks | None = None) -> list[dict[str, Any]]:
    """One for each Secret and each claim.

    A pod starts without a Secret that does not exist, as not every namespace needs all of them; Kubernetes has nothing
    like that for claims.
    """
    secrets = [
        {"name": _secret(number), "secret": {"secretName": name, "optional": True, "defaultMode": 0o440}}
        for number, name in enumerate(_secrets(sources, sinks))
    ]
    claims = [
        {"name": _claim(number), "persistentVolumeClaim": {"claimName": name, "readOnly": True}}
        for number, name in enumerate(sources.claims)
    ]
    return [*secrets, *claims]


def mounts(sources: Sources, sinks: PayloadSinks | None = None) -> list[dict[str, Any]]:
    """Where the container has them: a folder for each Secret and each claim."""
    secrets = [(_secret(number), f"{SECRETS_FOLDER}/{name}") for number, name in enumerate(_secrets(sources, sinks))]
    claims = [(_claim(number), f"{CLAIMS_FOLDER}/{name}") for number, name in enumerate(sources.claims)]
    return [{"name": name, "mountPath": path, "readOnly": True} for name, path in [*secrets, *claims]]


def _secrets(sources: Sources, sinks: PayloadSinks | None) -> list[str]:
    """The Secrets, each once: those for sources first, so that their volumes stay as they are without sinks."""
    of_sinks = () if sinks is None else sinks.credentials
    return list(dict.fromkeys(each.secret for each in (*sources.credentials, *of_sinks)))


# The name of a volume is a label, shorter than that of a Secret or a claim may be.
def _secret(number: int) -> str:
    return f"source-secret-{number}"


def _claim(number: int) -> str:
    return f"source-claim-{number}"
