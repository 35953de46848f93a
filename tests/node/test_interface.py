"""The node's interface on this machine is removed by the kernel and by us, in any order."""

from __future__ import annotations

import os
import pathlib
import subprocess

from tests.support.until import until

from fairlead_cli.local.node import sandbox

INTERFACE = "fl-test-race"
ROUNDS = 50


def test_an_interface_that_the_kernel_removes_at_the_same_moment_is_no_error() -> None:
    outside = os.readlink("/proc/self/ns/net")
    try:
        for _ in range(ROUNDS):
            holder = subprocess.Popen(["unshare", "--net", "--", "sleep", "infinity"])
            try:
                own = pathlib.Path(f"/proc/{holder.pid}/ns/net")
                until(lambda own=own: os.readlink(own) != outside, "the holder has its own network")
                add = ["ip", "link", "add", INTERFACE, "type", "veth", "peer", "name", "node0"]
                subprocess.run([*add, "netns", str(holder.pid)], check=True)
            finally:
                holder.kill()
                holder.wait()
            # The kernel removes the interface some milliseconds after the last process, so some calls meet it there.
            while pathlib.Path(f"/sys/class/net/{INTERFACE}").exists():
                sandbox.disconnect(INTERFACE)
    finally:
        sandbox.disconnect(INTERFACE)
