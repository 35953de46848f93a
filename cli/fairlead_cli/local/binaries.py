"""Where each binary comes from: one that is there, else the official archive, else a build; see `find`."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import re
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from typing import Self

from fairlead_cli.local import build, download, errors, install, locks, paths, progress

CONTROL_PLANE = ("etcd", "kube-apiserver", "kube-controller-manager", "kubectl")
# What a node needs beside them.
NODE = (
    "kube-scheduler",
    "kubelet",
    "kube-proxy",
    "containerd",
    "containerd-shim-runc-v2",
    "ctr",
    "coredns",
    "pause",
)
# What is used on it.
ON_A_NODE = ("helm", "kuberay-operator", "kube-router", "metrics-server", "local-path-provisioner")
# Whose releases are fetched, and taken from the PATH. What other projects have is built: they publish no such files, or
# their programs don't say their version.
_FETCHED = ("etcd", "kubernetes")
# Where the two projects publish their builds.
KUBERNETES_URL = "https://dl.k8s.io"
ETCD_URL = "https://github.com/etcd-io/etcd/releases/download"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Binaries:
    """The binaries that were found, by name."""

    paths: Mapping[str, pathlib.Path]

    def path(self, name: str) -> pathlib.Path:
        return self.paths[name]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """Where to look. An empty URL means: don't ask the network, build."""

    cache: pathlib.Path
    kubernetes_url: str = KUBERNETES_URL
    etcd_url: str = ETCD_URL
    environment: Mapping[str, str] = dataclasses.field(default_factory=lambda: dict(os.environ))

    @classmethod
    def from_environment(cls) -> Self:
        """`FAIRLEAD_CACHE`, `FAIRLEAD_KUBERNETES_URL`, `FAIRLEAD_ETCD_URL`, or the defaults."""
        return cls(
            cache=paths.cache_dir(),
            kubernetes_url=os.environ.get("FAIRLEAD_KUBERNETES_URL", KUBERNETES_URL),
            etcd_url=os.environ.get("FAIRLEAD_ETCD_URL", ETCD_URL),
        )

    def cached(self, name: str) -> pathlib.Path:
        """Where our own copy of this binary lies, if there is one."""
        return self.cache / "bin" / f"{version_of(name)}-{paths.system()}-{paths.architecture()}" / name


def version_of(name: str) -> str:
    """The version pinned for this binary, with its `v`."""
    return build.PROGRAMS[name].version


def find(names: Sequence[str], sources: Sources, reporter: progress.Reporter) -> Binaries:
    """Get a path for each name, fetching or building what is not there.

    Raises:
        LocalClusterError: no source has it.
    """
    if missing := _missing_message(names, sources):
        what = "another command is fetching or building these binaries"
        with locks.hold(sources.cache / "binaries.lock", what=what, reporter=reporter) as lock:
            _fetch(_missing_message(missing, sources), sources, reporter)
            if missing := _missing_message(missing, sources):
                targets = {name: sources.cached(name) for name in missing}
                build.binaries(targets, reporter=reporter, environment=sources.environment, lock=lock)
    return Binaries(paths={name: path for name in names if (path := _find_existing(name, sources)) is not None})


def has_version(name: str, path: pathlib.Path) -> bool:
    """Whether the file is this binary in a version that goes with the pinned one: same major and minor."""
    if not os.access(path, os.X_OK):
        return False
    output = _reported_version(name, path)
    return output is not None and output.split(".")[:2] == version_of(name).split(".")[:2]


def _reported_version(name: str, path: pathlib.Path) -> str | None:
    """What the binary says of itself, with a `v`; None when it does not run or says nothing."""
    argv = [str(path), "version", "--client"] if name == "kubectl" else [str(path), "--version"]
    try:
        output = subprocess.run(argv, capture_output=True, text=True, timeout=20, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.search(r"v?(\d+\.\d+\.\d+\S*)", output)
    return f"v{found.group(1)}" if found else None


def _missing_message(names: Iterable[str], sources: Sources) -> list[str]:
    return [name for name in names if _find_existing(name, sources) is None]


def _find_existing(name: str, sources: Sources) -> pathlib.Path | None:
    # 1. What the person points at: taken as it is, whatever its version.
    if assets := sources.environment.get("KUBEBUILDER_ASSETS"):
        given = pathlib.Path(assets) / name
        if os.access(given, os.X_OK):
            return given
    # 2. What we fetched or built before: complete, for it was renamed into its place.
    own = sources.cached(name)
    if os.access(own, os.X_OK):
        return own
    # 3. What the system has, if it says that it is of a version that fits.
    if build.PROGRAMS[name].module not in _FETCHED:
        return None
    for folder in sources.environment.get("PATH", "").split(os.pathsep):
        candidate = pathlib.Path(folder) / name
        if folder and has_version(name, candidate):
            return candidate
    return None


def _fetch(names: Sequence[str], sources: Sources, reporter: progress.Reporter) -> None:
    """Fetch what can be fetched; what can't be is said in one line for each place, and left to the build."""
    for module, url in (("kubernetes", sources.kubernetes_url), ("etcd", sources.etcd_url)):
        wanted = [name for name in names if build.PROGRAMS[name].module == module]
        if not wanted or not url:
            continue
        try:
            download.check_reachable(url)
            for name in wanted:
                _fetch_one(name, url.rstrip("/"), sources, reporter)
        except errors.NotThere as error:
            reporter.step(f"{', '.join(wanted)}: {error}; building instead")


def _fetch_one(name: str, base: str, sources: Sources, reporter: progress.Reporter) -> None:
    version, platform = version_of(name), f"{paths.system()}-{paths.architecture()}"
    if name == "etcd":
        stem = f"etcd-{version}-{platform}"
        url, listing = f"{base}/{version}/{stem}.tar.gz", f"{base}/{version}/SHA256SUMS"
    else:
        url = f"{base}/{version}/bin/{platform.replace('-', '/')}/{name}"
        listing = f"{url}.sha256"
    file_name = url.rsplit("/", 1)[-1]
    fetched = sources.cache / "downloads" / f"{version}-{file_name}"
    checksum = download.published_checksum(download.text(listing), file_name)
    download.fetch(url, fetched, sha256=checksum, reporter=reporter)
    try:
        if name == "etcd":
            install.from_archive(fetched, f"{stem}/etcd", sources.cached(name))
        else:
            with fetched.open("rb") as file:
                install.executable(file, sources.cached(name))
    finally:
        fetched.unlink()
