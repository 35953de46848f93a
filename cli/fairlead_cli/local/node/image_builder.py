"""Builds images from Containerfiles and puts them into the node's registry, from where containerd pulls them.

An image's tag is a digest of all that it is made of, so an image that is there already is not built again, by whichever
cluster it was made.
"""

from __future__ import annotations

import dataclasses
import hashlib
import http.client
import os
import pathlib
import shutil
import subprocess
import tempfile
from collections.abc import Mapping

from fairlead_cli.local import errors, locks, progress
from fairlead_cli.local.node import configuration, debian, ports

_ACCEPTED = "application/vnd.oci.image.manifest.v1+json"
_TAG_DIGITS = 16
# In a mount namespace of its own: what it mounts goes with it, also when it is killed. Buildah starts itself again
# without the environment, so its libraries, where they are not the system's, have to be in the list of all.
_BUILD_AND_PUSH = """
set -e
if [ -n "$LIBRARIES" ]; then
    printf '%s\\n' "$LIBRARIES" 'include /etc/ld.so.conf' > "$TMPDIR/libraries"
    ldconfig -X -f "$TMPDIR/libraries" -C "$TMPDIR/ld.so.cache"
    mount --bind "$TMPDIR/ld.so.cache" /etc/ld.so.cache
fi
build() { buildah --root "$STORE" --runroot "$RUN" --storage-driver overlay "$@"; }
build build-using-dockerfile --isolation chroot --layers=false --signature-policy "$POLICY" --tls-verify=false \
    --format oci --timestamp 0 --tag "localhost/$1" --file "$CONTEXT/Containerfile" $ARGUMENTS "$CONTEXT"
build push --signature-policy "$POLICY" --tls-verify=false "localhost/$1" "docker://$REGISTRY/$1"
"""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """What an image is made of: a Containerfile, the files beside it (by their name there), and images it begins with.

    `pinned` are files, too: those whose hash one of the others holds, so that they need not be read for the tag.
    `bases` are by the name of the build argument that stands for them.
    """

    name: str
    containerfile: pathlib.Path
    files: Mapping[str, pathlib.Path] = dataclasses.field(default_factory=dict)
    pinned: Mapping[str, pathlib.Path] = dataclasses.field(default_factory=dict)
    bases: Mapping[str, Image] = dataclasses.field(default_factory=dict)

    @property
    def tag(self) -> str:
        """A digest of the content, in hexadecimal digits."""
        held = hashlib.sha256(digest(self.containerfile))
        for name, path in sorted(self.files.items()):
            held.update(f"{name}\0".encode() + digest(path))
        for name in sorted(self.pinned):
            held.update(f"{name}\0".encode())
        for name, base in sorted(self.bases.items()):
            held.update(f"{name}\0{base.path}\0".encode())
        return held.hexdigest()[:_TAG_DIGITS]

    @property
    def path(self) -> str:
        """Name and tag, without a registry."""
        return f"fairlead/{self.name}:{self.tag}"

    @property
    def reference(self) -> str:
        """What a pod of the cluster names it by."""
        return f"{configuration.REGISTRY_NAME}/{self.path}"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Builder:
    """Builds for the registry at `address` (an IP address of the node)."""

    programs: debian.Programs
    cache: pathlib.Path
    address: str
    reporter: progress.Reporter

    def ensure(self, image: Image) -> str:
        """Build the image unless the registry has it; the value is its reference by digest.

        Raises:
            LocalClusterError: a step of it failed; with the end of what was said.
        """
        if self._digest(image) is None:
            for base in image.bases.values():
                self.ensure(base)
            # One lock for each image: the small ones need not wait for the large one.
            lock_file = self.cache / "images" / f"{image.name}.lock"
            what = f"another command builds the image {image.name}"
            with locks.hold(lock_file, what=what, reporter=self.reporter) as lock:
                if self._digest(image) is None:
                    self._build(image, lock)
        found = self._digest(image)
        if found is None:
            raise errors.LocalClusterError(f"the registry does not have {image.path}, which was just put there")
        return f"{configuration.REGISTRY_NAME}/fairlead/{image.name}@{found}"

    def _digest(self, image: Image) -> str | None:
        name, tag = image.path.split(":")
        connection = http.client.HTTPConnection(self.address, ports.REGISTRY, timeout=10)
        try:
            connection.request("HEAD", f"/v2/{name}/manifests/{tag}", headers={"Accept": _ACCEPTED})
            answer = connection.getresponse()
            return answer.getheader("Docker-Content-Digest") if answer.status == http.HTTPStatus.OK else None
        except OSError as error:
            raise errors.LocalClusterError(f"the node's registry does not answer: {error}") from error
        finally:
            connection.close()

    def _build(self, image: Image, lock: int) -> None:
        """`lock` is handed on: a build whose caller was killed keeps others from starting one."""
        parent = self.cache / "images"
        parent.mkdir(parents=True, exist_ok=True)
        for left in parent.glob(
            f".build-{image.name}-*"
        ):  # of a run that was killed; the lock says that nobody else is at work
            shutil.rmtree(left)
        self.reporter.step(f"building the image {image.name}")
        with tempfile.TemporaryDirectory(dir=parent, prefix=f".build-{image.name}-") as folder:
            context = pathlib.Path(folder, "context")
            for name, path in _context(image).items():
                target = context / name
                target.parent.mkdir(parents=True, exist_ok=True)
                _place(path, target)
            self._run(image, pathlib.Path(folder), lock)

    def _run(self, image: Image, folder: pathlib.Path, lock: int) -> None:
        registry = f"{self.address}:{ports.REGISTRY}"
        arguments = [f"--build-arg={name}={registry}/{base.path}" for name, base in image.bases.items()]
        environment = {
            **os.environ,
            **self.programs.environment,
            "STORE": str(folder / "store"),
            "RUN": str(folder / "run"),
            "CONTEXT": str(folder / "context"),
            "POLICY": str(self.programs.signature_policy),
            "REGISTRY": registry,
            "ARGUMENTS": " ".join(arguments),
            "TMPDIR": str(folder),
            "LIBRARIES": self.programs.environment.get("LD_LIBRARY_PATH", "").replace(":", "\n"),
        }
        argv = ["unshare", "--mount", "--propagation", "private", "--", "/bin/sh", "-c", _BUILD_AND_PUSH, "build"]
        done = subprocess.run(
            [*argv, image.path],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            pass_fds=[lock],
        )
        if done.returncode != 0:
            raise errors.LocalClusterError(f"building the image {image.name} failed:\n{done.stdout[-3000:]}")


def program(name: str, path: pathlib.Path) -> Image:
    """The image of one static program."""
    containerfile = pathlib.Path(__file__).parent / "images" / "program" / "Containerfile"
    return Image(name=name, containerfile=containerfile, files={"program": path})


def _context(image: Image) -> Mapping[str, pathlib.Path]:
    return {"Containerfile": image.containerfile, **image.files, **image.pinned}


def digest(path: pathlib.Path) -> bytes:
    """SHA-256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def _place(path: pathlib.Path, target: pathlib.Path) -> None:
    try:
        target.hardlink_to(path)
    except OSError:  # another file system
        shutil.copy2(path, target)
