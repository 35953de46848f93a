"""The chart's archive and the wheel: equal bytes for equal sources."""

from __future__ import annotations

import gzip
import io
import os
import pathlib
import subprocess
import sys
import tarfile
import tempfile

from release import version

# 1980, where zip files begin: a file's own time would make equal content unequal.
EPOCH_S = 315532800


def package_chart(helm: pathlib.Path, into: pathlib.Path) -> pathlib.Path:
    """The chart's archive as Helm packages it, without the times of its files."""
    with tempfile.TemporaryDirectory() as folder:
        run(str(helm), "package", str(version.CHART), f"--destination={folder}")
        (packed,) = pathlib.Path(folder).iterdir()
        target = into / packed.name
        target.write_bytes(_without_times(packed.read_bytes()))
    return target


def build_wheel(into: pathlib.Path) -> pathlib.Path:
    """Fairlead's wheel."""
    before = set(into.iterdir())
    run(sys.executable, "-m", "hatchling", "build", "--target=wheel", f"--directory={into}")
    (made,) = set(into.iterdir()) - before
    return made


def _without_times(packed: bytes) -> bytes:
    plain = io.BytesIO()
    with (
        tarfile.open(fileobj=io.BytesIO(packed)) as source,
        tarfile.open(fileobj=plain, mode="w", format=tarfile.PAX_FORMAT) as made,
    ):
        for member in sorted(source.getmembers(), key=lambda each: each.name):
            same = tarfile.TarInfo(member.name)
            same.size, same.mode, same.mtime = member.size, 0o644, EPOCH_S
            made.addfile(same, source.extractfile(member))
    return gzip.compress(plain.getvalue(), mtime=0)


def run(*argv: str) -> None:
    """Run a program in the repository.

    Raises:
        CalledProcessError: with its output, as the exception's note.
    """
    environment = {**os.environ, "SOURCE_DATE_EPOCH": str(EPOCH_S)}
    done = subprocess.run(argv, cwd=version.ROOT, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        error = subprocess.CalledProcessError(done.returncode, argv, done.stdout, done.stderr)
        error.add_note(done.stdout + done.stderr)
        raise error
