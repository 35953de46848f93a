"""``make release``: the chart, the wheel, archives of the images with their bills of materials, and checksums."""

from __future__ import annotations

import argparse
import hashlib
import pathlib
import sys

import rich.console

from fairlead_cli.local import binaries, progress
from fairlead_cli.local.node import cluster, ports, product_images
from release import bill, images, packages, version

CHECKSUMS = "SHA256SUMS"


def main() -> int:
    """Write a release into an empty folder."""
    parser = argparse.ArgumentParser(prog="make release ARGS=…", description=__doc__)
    parser.add_argument("--into", type=pathlib.Path, help="an empty folder; by default dist/VERSION")
    parser.add_argument("--node", metavar="NAME", help="a local cluster with a node, which builds the images")
    chosen = parser.parse_args()
    into = chosen.into or version.ROOT / "dist" / version.read()
    into.mkdir(parents=True, exist_ok=True)
    if any(into.iterdir()):
        parser.error(f"{into} isn't empty")
    reporter = progress.RichReporter(rich.console.Console())
    write(into, node=chosen.node, reporter=reporter)
    for line in (into / CHECKSUMS).read_text().splitlines():
        reporter.step(line)
    return 0


def write(into: pathlib.Path, *, node: str | None, reporter: progress.Reporter) -> None:
    """Write everything; without a node no images."""
    number = version.read()
    helm = binaries.find(["helm"], binaries.Sources.from_environment(), reporter).path("helm")
    packages.package_chart(helm, into)
    packages.build_wheel(into)
    if node is None:
        reporter.step("no images: a node builds them (fairlead local up --node; make release ARGS='--node default')")
    else:
        for name in product_images.NAMES:
            _write_image(cluster.NodeCluster(node, reporter=reporter), name, number, into)
    (into / CHECKSUMS).write_text(_checksums(into))


def _write_image(node: cluster.NodeCluster, name: str, number: str, into: pathlib.Path) -> None:
    path, digest = node.ensure_image(name).partition("/")[2].split("@")
    registry = images.Registry(address=str(node.addresses.node), port=ports.REGISTRY)
    archive = into / f"fairlead-{name}-{number}.oci.tar"
    registry.archive(path, digest, reference=f"{path}:{number}", target=archive)
    made = bill.compose(path, digest, images.files(archive))
    (into / f"fairlead-{name}-{number}.cdx.json").write_text(made)


def _checksums(folder: pathlib.Path) -> str:
    """As `sha256sum --check` reads them."""
    lines = []
    for path in sorted(folder.iterdir()):
        with path.open("rb") as file:
            lines.append(f"{hashlib.file_digest(file, 'sha256').hexdigest()}  {path.name}\n")
    return "".join(lines)


if __name__ == "__main__":
    sys.exit(main())
