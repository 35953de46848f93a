"""Which file of a cluster lies where. Nothing here reads or writes."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Mapping

from fairlead_cli.local import pki

Ports = Mapping[str, int]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """`root` holds all of one cluster; `run` is a short path, for a Unix socket's is at most 107 bytes long."""

    root: pathlib.Path
    run: pathlib.Path

    @property
    def pki_dir(self) -> pathlib.Path:
        return self.root / "pki"

    @property
    def authority(self) -> pathlib.Path:
        return self.pki_dir / "ca.crt"

    @property
    def service_account_key(self) -> pathlib.Path:
        return self.pki_dir / "service-account.key"

    def pair(self, name: str) -> pki.KeyPair:
        return pki.KeyPair(certificate=self.pki_dir / f"{name}.crt", key=self.pki_dir / f"{name}.key")

    @property
    def etcd_data(self) -> pathlib.Path:
        return self.root / "etcd"

    @property
    def audit_policy(self) -> pathlib.Path:
        return self.root / "audit-policy.json"

    @property
    def audit_log(self) -> pathlib.Path:
        return self.logs / "audit.log"

    @property
    def admin_kubeconfig(self) -> pathlib.Path:
        return self.root / "admin.kubeconfig"

    @property
    def controller_manager_kubeconfig(self) -> pathlib.Path:
        return self.root / "kube-controller-manager.kubeconfig"

    def service_account_kubeconfig(self, namespace: str, name: str) -> pathlib.Path:
        return self.root / f"{namespace}.{name}.kubeconfig"

    @property
    def ray_token(self) -> pathlib.Path:
        return self.root / "ray-token"

    @property
    def source_secrets(self) -> pathlib.Path:
        """What takes the place of Secrets for models' sources: a folder for each name, a file in it for each key."""
        return self.root / "source-secrets"

    def ray_temp(self, part: str = "ray") -> pathlib.Path:
        """Where the Ray cluster whose head is this part has its sockets and logs."""
        return self.run / part

    def node_folder(self, part: str) -> pathlib.Path:
        """Where the replicas of a Ray node have their files; made by the first of them."""
        return self.run / "nodes" / part

    def warm_start(self, part: str) -> pathlib.Path:
        """The sockets by which the workers of a Ray node are forked."""
        return self.run / f"warm-{part}"

    @property
    def gateway_state(self) -> pathlib.Path:
        return self.run / "gateway"

    @property
    def logs(self) -> pathlib.Path:
        return self.root / "logs"

    def log(self, part: str) -> pathlib.Path:
        return self.logs / f"{part}.log"
