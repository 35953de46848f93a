"""Fairlead's own images, from `images/` of a clone: what they are made of is brought together here."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence

from fairlead_cli.local import errors, locks, progress
from fairlead_cli.local.node import debian, image_builder, wheels

_REPOSITORY = pathlib.Path(__file__).parents[4]
# The images, and the packages of Fairlead that each runs.
NAMES: Mapping[str, Sequence[str]] = {
    "operator": ("fairlead_operator",),
    "gateway": ("fairlead_gateway", "fairlead_spans"),
    "ray-node": ("fairlead_runtime", "fairlead_ray_node", "fairlead_spans"),
}
_SUITE = "bookworm"
_PACKAGES = ("ca-certificates", "libgomp1", "libstdc++6", "python3")
# What nobody reads in a container.
_LEFT_OUT = (
    "usr/share/doc",
    "usr/share/man",
    "usr/share/locale",
    "usr/share/info",
    "var/cache/apt",
    "var/lib/apt/lists",
)


# Longer than any build takes.
_WHEELS_KEPT_S = 24 * 3600.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Materials:
    """Makes what goes into the images, and keeps it in the cache."""

    cache: pathlib.Path
    programs: debian.Programs
    reporter: progress.Reporter

    def image(self, name: str) -> image_builder.Image:
        """One of `NAMES`, or `base`.

        Raises:
            LocalClusterError: this isn't a clone, or something of it can't be had.
        """
        folder = _REPOSITORY / "images" / name
        if not folder.is_dir():
            raise errors.LocalClusterError("images are built from a clone of Fairlead's repository, which this is not")
        with locks.hold(
            self.cache / "materials.lock", what="another command gets what images are made of", reporter=self.reporter
        ):
            if name == "base":
                return self._base()
            files = {path.name: path for path in folder.iterdir() if path.name != "Containerfile"}
            required = self._wheels(name, folder / "requirements.lock")
            own = self._own_wheel(NAMES[name])
            return image_builder.Image(
                name=name,
                containerfile=folder / "Containerfile",
                files={**files, f"wheels/{own.name}": own},
                pinned={f"wheels/{path.name}": path for path in required},
                bases={"BASE": self._base()},
            )

    def _base(self) -> image_builder.Image:
        root_file_system = self.cache / "images" / f"{_SUITE}-{'-'.join(_PACKAGES)}.tar"
        if not root_file_system.exists():
            self._make_root_file_system(root_file_system)
        containerfile = _REPOSITORY / "images" / "base" / "Containerfile"
        return image_builder.Image(name="base", containerfile=containerfile, files={"rootfs.tar": root_file_system})

    def _make_root_file_system(self, target: pathlib.Path) -> None:
        self.reporter.step(f"making a root file system of Debian {_SUITE} with {', '.join(_PACKAGES)}")
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".rootfs-") as folder:
            root, packed = pathlib.Path(folder, "root"), pathlib.Path(folder, "rootfs.tar")
            argv = ["debootstrap", "--variant=minbase", f"--include={','.join(_PACKAGES)}", _SUITE, str(root)]
            # In a mount namespace of its own: what it mounts goes with it, and never is in the removed folder.
            self._run("unshare", "--mount", "--propagation", "private", "--", *argv)
            for each in _LEFT_OUT:
                shutil.rmtree(root / each, ignore_errors=True)
            self._run("tar", "--create", "--numeric-owner", "--xattrs", f"--file={packed}", f"--directory={root}", ".")
            packed.replace(target)

    def _wheels(self, name: str, lock: pathlib.Path) -> list[pathlib.Path]:
        """Every wheel of the lock and uv, in a folder that is complete or not there."""
        key = image_builder.digest(lock).hex()[:16]
        folder = self.cache / "images" / f"wheels-{name}-{key}"
        if not folder.exists():
            self.reporter.step(f"getting the packages of the image {name}")
            folder.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".wheels-") as temporary:
                into = pathlib.Path(temporary, "wheels")
                for lock_file in (lock, _REPOSITORY / "requirements-bootstrap.lock"):
                    self._pip_download(lock_file, into)
                into.rename(folder)
        return sorted(folder.glob("*.whl"))

    def _pip_download(self, lock: pathlib.Path, into: pathlib.Path) -> None:
        argv = [sys.executable, "-m", "pip", "download", "--quiet", "--require-hashes", "--no-deps"]
        self._run(*argv, "--only-binary=:all:", f"--requirement={lock}", f"--dest={into}")

    def _own_wheel(self, packages: Sequence[str]) -> pathlib.Path:
        """Fairlead's own wheel with these packages: equal bytes for equal sources.

        Its folder is named by its content: another command may be building an image with a wheel of other sources.
        """
        parent = self.cache / "images" / "own"
        parent.mkdir(parents=True, exist_ok=True)
        _remove_older(parent, than_s=_WHEELS_KEPT_S)
        with tempfile.TemporaryDirectory(dir=parent, prefix=".wheel-") as temporary:
            self._run(sys.executable, "-m", "hatchling", "build", "--target=wheel", f"--directory={temporary}")
            (whole,) = pathlib.Path(temporary).glob("*.whl")
            part = pathlib.Path(temporary, "part")
            wheels.reduce(whole, packages, part)
            kept = parent / image_builder.digest(part).hex()[:16]
            kept.mkdir(exist_ok=True)
            return part.replace(kept / whole.name)

    def _run(self, *argv: str) -> None:
        # The programs' libraries only where they are needed: Python has its own.
        environment = (
            None if argv[0] == sys.executable else {**os.environ, **self.programs.environment, "LC_ALL": "C.UTF-8"}
        )
        done = subprocess.run(
            argv,
            cwd=_REPOSITORY,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise errors.LocalClusterError(f"{' '.join(argv)} failed:\n{done.stdout[-2000:]}")


def _remove_older(parent: pathlib.Path, *, than_s: float) -> None:
    for each in parent.iterdir():
        if time.time() - each.stat().st_mtime > than_s:
            shutil.rmtree(each, ignore_errors=True)
