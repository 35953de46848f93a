"""The programs by which NetworkPolicies are enforced, iptables and ipset, out of Debian's packages into our cache."""

from __future__ import annotations

import os
import pathlib
import platform
from collections.abc import Mapping

from fairlead_cli.local import errors, locks, progress
from fairlead_cli.local.node import debian

_PACKAGES = ("iptables", "ipset")
# One program under many names; a package's installation would make the links.
_NAMES = tuple(f"{family}tables{what}" for family in ("ip", "ip6") for what in ("", "-save", "-restore"))


def obtain(cache: pathlib.Path, reporter: progress.Reporter) -> None:
    """Unpack them unless they are there.

    Raises:
        LocalClusterError: they can't be had; with the package manager's own words.
    """
    with locks.hold(cache / "debian.lock", what="another command unpacks packages", reporter=reporter):
        tree = _tree(cache)
        if not tree.exists():
            reporter.step(f"getting Debian's packages {', '.join(_PACKAGES)}")
            debian.unpack(_PACKAGES, tree)
        programs = _links(cache)
        programs.mkdir(exist_ok=True)
        for name in _NAMES:
            if not (programs / name).is_symlink():
                (programs / name).symlink_to(tree / "usr/sbin/xtables-nft-multi")
        if not (programs / "iptables").exists():
            raise errors.LocalClusterError("the package iptables lacks xtables-nft-multi")


def environment(cache: pathlib.Path) -> Mapping[str, str]:
    """What a process needs to find and run them."""
    tree = _tree(cache)
    (libraries,) = tree.glob("usr/lib/*-linux-gnu")
    folders = (str(_links(cache)), str(tree / "usr/sbin"), os.environ.get("PATH", ""))
    return {
        "PATH": os.pathsep.join(folders),
        "LD_LIBRARY_PATH": str(libraries),
        "XTABLES_LIBDIR": str(libraries / "xtables"),
    }


def _tree(cache: pathlib.Path) -> pathlib.Path:
    return cache / "bin" / "debian" / f"packet-filter-{platform.machine()}"


def _links(cache: pathlib.Path) -> pathlib.Path:
    return _tree(cache) / "links"
