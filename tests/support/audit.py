"""The API server's audit log, as evidence of who wrote what."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

OPERATOR = "system:serviceaccount:fairlead-system:fairlead-operator"
WRITES = frozenset({"create", "update", "patch", "delete", "deletecollection"})


class AuditLog:
    """Writes of one user since ``mark``."""

    def __init__(self, path: Path, user: str = OPERATOR) -> None:
        self._path = path
        self._user = user
        self._offset = 0

    def mark(self) -> None:
        self._offset = self._path.stat().st_size

    def count(self, resource: str) -> int:
        """How many finished requests of the user were about a resource, reads included."""
        return sum((e.get("objectRef") or {}).get("resource") == resource for e in self._finished())

    def writes(self, *, but: frozenset[str] = frozenset({"leases"})) -> list[str]:
        """``verb resource namespace/name`` of each finished write, some resources and all dry runs left out."""
        found = []
        for entry in self._finished():
            about = entry.get("objectRef") or {}
            if entry["verb"] not in WRITES or about.get("resource") in but or "dryRun=All" in entry["requestURI"]:
                continue
            kind = "/".join(filter(None, (about.get("resource"), about.get("subresource"))))
            found.append(f"{entry['verb']} {kind} {about.get('namespace')}/{about.get('name')}")
        return found

    def _finished(self) -> list[dict[str, Any]]:
        with self._path.open("rb") as log:
            log.seek(self._offset)
            entries = [json.loads(line) for line in log if line.endswith(b"\n")]
        return [e for e in entries if e["user"]["username"] == self._user and e["stage"] == "ResponseComplete"]
