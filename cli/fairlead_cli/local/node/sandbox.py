"""The namespaces of a node: a network and a file system view of its own, which end with its processes.

A process that does nothing (the part `node`) holds them; all others enter them. `/run` and `/var` are the node's own in
there, so kubelet and containerd keep their usual paths and the machine's are safe from them. Mounts, interfaces, routes
and packet filter rules live in the namespaces alone: with the last process they are gone, whatever happened to us.
"""

from __future__ import annotations

import dataclasses
import pathlib
import subprocess
import time
from collections.abc import Sequence

from fairlead_cli.local import errors, layout, processes
from fairlead_cli.local.node import addresses

HOLDER = "node"
_REMOVED_WITHIN_S = 20.0
_INTERFACE = "node0"
# Entered by nobody before `ready` is there. The host's /sys stays, for the control groups in it.
_HOLD = """
set -e
mount --bind "$1" /var
mount -t tmpfs -o mode=0755 tmpfs /run
ip link set lo up
echo 1 > /proc/sys/net/ipv4/ip_forward
: > "$2"
exec sleep infinity
"""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Sandbox:
    """The namespaces of the cluster at `where`; `name` is unique among clusters and short: an interface has it."""

    where: layout.Layout
    name: str
    at: addresses.Addresses

    @property
    def var(self) -> pathlib.Path:
        """What is `/var` in there."""
        return self.where.root / "var"

    @property
    def _ready(self) -> pathlib.Path:
        return self.where.run / "namespaces-ready"

    def holder(self) -> processes.Command:
        """The process that holds the namespaces."""
        for folder in ("lib", "log", "tmp"):
            (self.var / folder).mkdir(parents=True, exist_ok=True)
        run = self.var / "run"
        if not run.is_symlink():
            run.symlink_to("/run")
        self._ready.unlink(missing_ok=True)
        argv = ["unshare", "--net", "--mount", "--propagation", "private", "--"]
        argv += ["/bin/sh", "-c", _HOLD, "fairlead-node", str(self.var), str(self._ready)]
        return processes.Command(argv=argv, log=self.where.log(HOLDER))

    def is_ready(self) -> bool:
        """Whether the namespaces can be entered."""
        return self._ready.exists()

    def connect(self, pid: int) -> None:
        """Join the holder's network to this machine; done again it changes nothing.

        Raises:
            LocalClusterError: the kernel or the system refuses.
        """
        if not pathlib.Path(f"/sys/class/net/{self.name}").exists():
            _run("ip", "link", "add", self.name, "type", "veth", "peer", "name", _INTERFACE, "netns", str(pid))
        _run("ip", "address", "replace", f"{self.at.host}/30", "dev", self.name)
        _run("ip", "link", "set", self.name, "up")
        for network in (self.at.services, self.at.pods):
            _run("ip", "route", "replace", network, "via", self.at.node)
        inside = self.enter(pid, [])
        _run(*inside, "ip", "address", "replace", f"{self.at.node}/30", "dev", _INTERFACE)
        _run(*inside, "ip", "link", "set", _INTERFACE, "up")
        # kube-proxy changes a service's address before it matters where this leads; without it there is no route.
        _run(*inside, "ip", "route", "replace", self.at.services, "via", self.at.host)

    @staticmethod
    def enter(pid: int, argv: Sequence[str]) -> list[str]:
        """The command that runs `argv` in the namespaces of the holder; its process number stays the same."""
        return ["nsenter", f"--target={pid}", "--net", "--mount", "--", *argv]


def disconnect(name: str) -> None:
    """Remove the interface, should a process that can't be ended keep the namespace alive.

    The kernel removes it too, some time after the last process of the namespace has ended. It may do so at this very
    moment, and the command then fails. Only an interface that stays is an error.

    Raises:
        LocalClusterError: the interface is there after 20 s.
    """
    interface = pathlib.Path(f"/sys/class/net/{name}")
    deadline = time.monotonic() + _REMOVED_WITHIN_S
    while interface.exists():
        try:
            _run("ip", "link", "delete", name)
        except errors.LocalClusterError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise errors.LocalClusterError(f"{' '.join(command)}: {done.stderr.strip()}")
