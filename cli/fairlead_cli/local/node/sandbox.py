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
from fairlead_cli.local.node import addresses, nodes

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
    """The namespaces of a node of the cluster at `where`.

    `name` is that of the interface by which the node is reached: short, and unique where the interface is.
    """

    where: layout.Layout
    name: str
    at: addresses.Addresses
    node: nodes.Node = nodes.FIRST

    @property
    def var(self) -> pathlib.Path:
        """What is `/var` in there."""
        return self.where.root / f"var{self.node.suffix}"

    @property
    def _ready(self) -> pathlib.Path:
        return self.where.run / f"namespaces-ready{self.node.suffix}"

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
        return processes.Command(argv=argv, log=self.where.log(self.node.part(HOLDER)))

    def is_ready(self) -> bool:
        """Whether the namespaces can be entered."""
        return self._ready.exists()

    def connect(self, pid: int, first: int) -> None:
        """Join the network of the holder `pid` to that of the machine or, for other nodes, of the holder `first`.

        Done again it changes nothing.

        Raises:
            LocalClusterError: the kernel or the system refuses.
        """
        outside = [] if self.node.is_first else self.enter(first, [])
        inside, number = self.enter(pid, []), self.node.number
        near, address = self.at.near_end(number), self.at.node_address(number)
        if not _has_interface(outside, self.name):
            link = ("ip", "link", "add", self.name, "type", "veth", "peer", "name", _INTERFACE, "netns", str(pid))
            _run(*outside, *link)
        _run(*outside, "ip", "address", "replace", f"{near}/30", "dev", self.name)
        _run(*outside, "ip", "link", "set", self.name, "up")
        for network in self._reached_by_it:
            _run(*outside, "ip", "route", "replace", network, "via", address)
        _run(*inside, "ip", "address", "replace", f"{address}/30", "dev", _INTERFACE)
        _run(*inside, "ip", "link", "set", _INTERFACE, "up")
        # kube-proxy changes a service's address before it matters where this leads; without it there is no route.
        others = self.at.services if self.node.is_first else self.at.all
        _run(*inside, "ip", "route", "replace", others, "via", near)

    @property
    def _reached_by_it(self) -> tuple[str, ...]:
        """All of the cluster is reached by the first node, and only its own pods by each other one."""
        if self.node.is_first:
            return self.at.nodes, self.at.services, self.at.pods
        return (self.at.pods_of(self.node.number),)

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


def _has_interface(enter: Sequence[str], name: str) -> bool:
    """Asked of `ip`: in a namespace of ours `/sys` is the machine's, and shows its interfaces."""
    return subprocess.run([*enter, "ip", "link", "show", "dev", name], capture_output=True, check=False).returncode == 0


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise errors.LocalClusterError(f"{' '.join(command)}: {done.stderr.strip()}")
