"""Programs that a node needs and a system may lack, out of Debian's packages into our cache. Nothing is installed."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence

from fairlead_cli.local import errors, locks, progress

# The programs, and the packages that have them.
_PACKAGES = {
    "runc": "runc",
    "nft": "nftables",
    "docker-registry": "docker-registry",
    "buildah": "buildah",
    "debootstrap": "debootstrap",
}
_NETWORK_PLUGINS = "containernetworking-plugins"
_PLUGIN_FOLDERS = ("/usr/lib/cni", "/opt/cni/bin")
_PLUGINS = ("ptp", "host-local", "loopback", "portmap")
# Of util-linux and iproute2, which every system has.
_EXPECTED = ("ip", "mount", "nsenter", "unshare")
_SYSTEM_FOLDERS = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Programs:
    """Where they are: `tree` is what was unpacked (it need not exist), as a file system of its own."""

    tree: pathlib.Path

    @property
    def search_path(self) -> str:
        """For PATH. The system's own come first."""
        own = (str(self.tree / folder) for folder in ("usr/sbin", "usr/bin", "sbin", "bin"))
        return os.pathsep.join([os.environ.get("PATH", ""), *_SYSTEM_FOLDERS, *own])

    @property
    def environment(self) -> Mapping[str, str]:
        """What the programs need to run from where they lie."""
        libraries = [str(path) for path in self.tree.glob("usr/lib/*-linux-gnu")]
        return {
            "PATH": self.search_path,
            **({"LD_LIBRARY_PATH": os.pathsep.join(libraries)} if libraries else {}),
            "DEBOOTSTRAP_DIR": str(self._first("usr/share/debootstrap")),
        }

    def path(self, name: str) -> pathlib.Path:
        """A program.

        Raises:
            LocalClusterError: it is nowhere.
        """
        found = shutil.which(name, path=self.search_path)
        if found is None:
            raise errors.LocalClusterError(f"the program {name} is not there")
        return pathlib.Path(found)

    @property
    def network_plugins(self) -> pathlib.Path | None:
        """The folder with the CNI plugins."""
        folders = [self.tree / "usr/lib/cni", *map(pathlib.Path, _PLUGIN_FOLDERS)]
        return next((each for each in folders if all((each / name).exists() for name in _PLUGINS)), None)

    @property
    def signature_policy(self) -> pathlib.Path:
        """Which images may be pulled and pushed, as the package has it: all."""
        return self._first("etc/containers/policy.json")

    def missing(self) -> list[str]:
        """The packages that are not complete on this machine."""
        lacking = [package for name, package in _PACKAGES.items() if not shutil.which(name, path=self.search_path)]
        return lacking if self.network_plugins else [*lacking, _NETWORK_PLUGINS]

    def _first(self, name: str) -> pathlib.Path:
        own = self.tree / name
        return own if own.exists() else pathlib.Path("/", name)


def obtain(cache: pathlib.Path, reporter: progress.Reporter) -> Programs:
    """The programs, unpacking what the system lacks.

    Raises:
        LocalClusterError: they can't be had from the packages either; with the package manager's own words.
    """
    found = Programs(tree=cache / "bin" / "debian" / f"node-{platform.machine()}")
    if lacking := [name for name in _EXPECTED if not shutil.which(name, path=found.search_path)]:
        raise errors.LocalClusterError(f"a node needs {', '.join(lacking)} (packages util-linux and iproute2)")
    if found.missing():
        with locks.hold(cache / "debian.lock", what="another command unpacks packages", reporter=reporter):
            if missing := found.missing():
                reporter.step(f"getting Debian's packages {', '.join(missing)}")
                unpack(missing, found.tree)
    if missing := found.missing():
        raise errors.LocalClusterError(f"the packages {', '.join(missing)} lack a program that a node needs")
    return found


def unpack(packages: Sequence[str], tree: pathlib.Path) -> None:
    """Replace `tree` by what these packages and those that they depend on hold; what the system has is left out.

    Raises:
        LocalClusterError: with the package manager's own words.
    """
    if not shutil.which("apt-get") or not shutil.which("dpkg-deb"):
        wanted = ", ".join(packages)
        raise errors.LocalClusterError(f"there is no apt-get here: install what corresponds to Debian's {wanted}")
    tree.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=tree.parent, prefix=".node-") as folder:
        archives, unpacked = pathlib.Path(folder, "archives"), pathlib.Path(folder, "tree")
        (archives / "partial").mkdir(parents=True)
        fetch = [
            "apt-get",
            "install",
            "--download-only",
            "--no-install-recommends",
            "--yes",
            f"--option=Dir::Cache::archives={archives}",
            "--option=Debug::NoLocking=1",  # nothing is installed
            *packages,
        ]
        if _run(*fetch) and (refusal := _run("apt-get", "update") or _run(*fetch)):
            # Without lists of packages nothing is found.
            raise errors.LocalClusterError(refusal)
        for package in sorted(archives.glob("*.deb")):
            if refusal := _run("dpkg-deb", "-x", str(package), str(unpacked)):
                raise errors.LocalClusterError(refusal)
        if tree.exists():  # it lacks something
            shutil.rmtree(tree)
        unpacked.rename(tree)


def _run(*command: str) -> str:
    """Empty where it succeeded, else what it said."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else f"{' '.join(command)}: {done.stderr.strip() or done.returncode}"
