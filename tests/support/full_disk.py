"""What a cache does on a disk of 4 MiB, as JSON. To be run as `unshare --mount python -m …`, as root.

The mount lives in the namespace of this process, so nothing stays behind, however it ends.
`python -m tests.support.full_disk DISK URI_OF_A_BODY_OF_UNKNOWN_LENGTH`
"""

from __future__ import annotations

import io
import json
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from fairlead_runtime.errors import LoadError
from fairlead_runtime.model import cache, source
from fairlead_runtime.model.bounds import Bounds
from fairlead_runtime.model.fetching.access import Access
from fairlead_runtime.model.fetching.outbound import Outbound, parse_networks

MIB = 1024 * 1024
LOOPBACK = Access(outbound=Outbound(networks=parse_networks("127.0.0.0/8")))
BOUNDS = Bounds(bytes_max=100 * MIB, total_s=30)


def main(disk: str, endless: str) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", disk], check=True)
    models = Path(tempfile.mkdtemp())
    kept = cache.Cache(Path(disk, "cache"), bytes_max=1_000_000_000)
    found: dict[str, object] = {}

    def fetch(uri: str) -> cache.Fetched | str:
        try:
            return source.fetch(uri, None, kept, BOUNDS, access=LOOPBACK)
        except LoadError as error:
            return f"{error.reason}: {error.sentence}"

    def file(name: str, size_bytes: int) -> str:
        (models / name).write_bytes(name.encode() * size_bytes)
        return (models / name).as_uri()

    first, second = fetch(file("a", MIB)), fetch(file("b", MIB))
    found["refused"] = fetch(file("c", 3 * MIB))
    found["evicted while all were held"] = len(kept.evicted)
    first.lease.close()
    third = fetch(file("d", 5 * MIB // 2))
    found["fits after the unused one went"] = third.digest
    found["evicted"] = [each.digest for each in kept.evicted] == [first.digest]
    third.lease.close()
    found["a body of unknown length"] = fetch(endless).digest
    found["evicted for it"] = len(kept.evicted)
    found["an archive that unpacks to what was freed"] = fetch(_archive(models, 5 * MIB // 2)).digest
    found["evicted in all"] = len(kept.evicted)
    found["an archive that unpacks to more"] = fetch(_archive(models, 4 * MIB))
    found["left over"] = sorted(path.name for path in Path(disk, "cache").glob("tmp-*"))
    second.lease.close()
    print(json.dumps(found))


def _archive(models: Path, size_bytes: int) -> str:
    with tarfile.open(models / "m.tar.gz", "w:gz") as archive:
        member = tarfile.TarInfo("saved_model.pb")
        member.size = size_bytes
        archive.addfile(member, io.BytesIO(bytes(size_bytes)))
    return (models / "m.tar.gz").as_uri()


if __name__ == "__main__":
    main(*sys.argv[1:])
