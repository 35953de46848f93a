"""Kubeconfigs that any client can use: certificates inside, no other file needed."""

from __future__ import annotations

import base64
import json
import os
import pathlib
from collections.abc import Mapping

from fairlead_cli.local import pki


def _inline(path: pathlib.Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()


def certificate_user(pair: pki.KeyPair) -> Mapping[str, str]:
    """A user who shows a client certificate."""
    return {"client-certificate-data": _inline(pair.certificate), "client-key-data": _inline(pair.key)}


def token_user(token: str) -> Mapping[str, str]:
    """A user who shows a bearer token."""
    return {"token": token}


def write(path: pathlib.Path, *, server: str, authority: pathlib.Path, user: Mapping[str, str], namespace: str) -> None:
    """Write a kubeconfig (0600) with one context; JSON is YAML. Replaced at once, for it may be in use."""
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {"name": "local", "cluster": {"server": server, "certificate-authority-data": _inline(authority)}}
        ],
        "users": [{"name": "user", "user": dict(user)}],
        "contexts": [{"name": "local", "context": {"cluster": "local", "user": "user", "namespace": namespace}}],
        "current-context": "local",
    }
    temporary = path.with_name(path.name + ".tmp")
    with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        json.dump(content, file, indent=1)
    temporary.replace(path)
