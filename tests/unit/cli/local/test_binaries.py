"""Which source a binary is taken from; Go is a small program here that does what the build asks of it."""

from __future__ import annotations

import hashlib
import io
import pathlib
import random
import tarfile

import pytest
from tests.support import published_files

from fairlead_cli.local import binaries, build, errors, versions

FAKE_GO = """#!/bin/sh
case "$1" in
version) echo "go version go{version} linux/amd64" ;;
list) echo "go: downloading example.org/m v1.0.0" >&2; printf 'fmt\\nexample.org/m\\n' ;;
build)
  echo example.org/m >&2
  echo "$PWD" >> {log}
  for last; do :; done
  while [ "$1" != -o ]; do shift; done
  case "$last" in */etcd/server/v3) name=server ;; *) name=${{last##*/}} ;; esac
  [ -n "{failure}" ] && {{ echo "{failure}" >&2; exit 1; }}
  printf built > "$2$name" ;;
esac
"""


def write_script(path: pathlib.Path, text: str) -> pathlib.Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


def write_go(tmp_path: pathlib.Path, *, version: str = "1.26.0", failure: str = "") -> pathlib.Path:
    text = FAKE_GO.format(version=version, log=tmp_path / "builds", failure=failure)
    return write_script(tmp_path / "path/go", text)


def build_sources(tmp_path: pathlib.Path, *, url: str = "", **environment: str) -> binaries.Sources:
    (tmp_path / "path").mkdir(exist_ok=True)
    return binaries.Sources(
        cache=tmp_path / "cache",
        kubernetes_url=url,
        etcd_url=url,
        environment={"PATH": f"{tmp_path / 'path'}:/bin:/usr/bin", **environment},
    )


STEM = f"etcd-{versions.ETCD}-{binaries.paths.system()}-{binaries.paths.architecture()}"


ETCD = random.Random(1).randbytes(5000)


def etcd_archive(**content: bytes) -> bytes:
    """As the project's releases are: one folder, in which the binary has siblings."""
    output = io.BytesIO()
    with tarfile.open(fileobj=output, mode="w:gz") as archive:
        folder = tarfile.TarInfo(f"{STEM}/")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
        for name, held in {"README.md": b"# etcd", "etcdctl": b"another", "etcdutl": b"a third", **content}.items():
            member = tarfile.TarInfo(f"{STEM}/{name}")
            member.size = len(held)
            archive.addfile(member, io.BytesIO(held))
    return output.getvalue()


def publish_etcd(published: published_files.Published, archive: bytes) -> None:
    """With a redirect to where it is stored, and a list of the checksums for all systems."""
    stored = "/stored/1234?sp=r&sig=a%2Fb"
    published.files[stored] = archive
    published.moved[f"/{versions.ETCD}/{STEM}.tar.gz"] = stored
    sums = {f"{STEM}.tar.gz": archive, f"etcd-{versions.ETCD}-darwin-amd64.zip": b"for another system"}
    listing = "".join(f"{hashlib.sha256(held).hexdigest()}  {name}\n" for name, held in sums.items())
    published.files[f"/{versions.ETCD}/SHA256SUMS"] = listing.encode()


def test_the_folder_in_kubebuilder_assets_comes_first(
    tmp_path: pathlib.Path, reporter: published_files.RecordingReporter
) -> None:
    sources = build_sources(tmp_path, KUBEBUILDER_ASSETS=str(tmp_path / "assets"))
    given = write_script(tmp_path / "assets/etcd", "#!/bin/sh\necho etcd Version: 3.5.1\n")
    write_script(sources.cached("etcd"), "")
    assert binaries.find(["etcd"], sources, reporter).path("etcd") == given


def test_the_cached_binary_comes_before_the_path(
    tmp_path: pathlib.Path, reporter: published_files.RecordingReporter
) -> None:
    sources = build_sources(tmp_path)
    write_script(tmp_path / "path/etcd", f"#!/bin/sh\necho etcd Version: {versions.ETCD.lstrip('v')}\n")
    own = write_script(sources.cached("etcd"), "")
    assert binaries.find(["etcd"], sources, reporter).path("etcd") == own


def test_the_path_is_taken_when_its_version_fits(
    tmp_path: pathlib.Path, reporter: published_files.RecordingReporter
) -> None:
    sources = build_sources(tmp_path)
    there = write_script(tmp_path / "path/kubectl", "#!/bin/sh\necho Client Version: v1.37.9\n")
    assert binaries.find(["kubectl"], sources, reporter).path("kubectl") == there


def test_a_binary_of_another_version_on_the_path_is_ignored(
    tmp_path: pathlib.Path, reporter: published_files.RecordingReporter
) -> None:
    sources = build_sources(tmp_path)
    write_script(tmp_path / "path/kubectl", "#!/bin/sh\necho Client Version: v1.32.4-dispatcher\n")
    write_go(tmp_path)
    assert binaries.find(["kubectl"], sources, reporter).path("kubectl") == sources.cached("kubectl")


def test_a_published_archive_comes_before_a_build(
    tmp_path: pathlib.Path, published: published_files.Published, reporter: published_files.RecordingReporter
) -> None:
    sources = build_sources(tmp_path, url=published.url)
    publish_etcd(published, etcd_archive(etcd=ETCD))
    published.cut_after = [10_000, 2_000]  # the list of checksums whole, the archive not
    found = binaries.find(["etcd"], sources, reporter).path("etcd")
    assert found.read_bytes() == ETCD
    assert found.stat().st_mode & 0o777 == 0o755
    assert [path.name for path in found.parent.iterdir()] == ["etcd"], "nothing else of it is kept"
    stored = [asked for path, asked in published.requests if path.startswith("/stored/")]
    assert stored == [None, "bytes=2000-"], "and where it broke off, it went on behind the redirect"


@pytest.mark.parametrize(
    "archive",
    [
        pytest.param(b"404 not found", id="none of an archive"),
        pytest.param(etcd_archive(etcd=ETCD)[:2_500], id="half of an archive"),
        pytest.param(etcd_archive(), id="an archive of others"),
    ],
)
def test_an_archive_without_the_binary_is_reported_and_the_binary_is_built(
    tmp_path: pathlib.Path,
    published: published_files.Published,
    reporter: published_files.RecordingReporter,
    archive: bytes,
) -> None:
    """A mirror publishes checksums of its own content."""
    sources = build_sources(tmp_path, url=published.url)
    write_go(tmp_path)
    publish_etcd(published, archive)
    assert binaries.find(["etcd"], sources, reporter).path("etcd").read_bytes() == b"built"
    (step,) = reporter.steps
    assert f"{STEM}.tar.gz" in step
    assert step.endswith("building instead")
    assert not list((sources.cache / "downloads").iterdir()), "nor is it kept"


def test_a_published_binary_is_fetched_with_its_checksum(
    tmp_path: pathlib.Path, published: published_files.Published, reporter: published_files.RecordingReporter
) -> None:
    sources = build_sources(tmp_path, url=published.url)
    path = f"/{versions.KUBERNETES}/bin/{binaries.paths.system()}/{binaries.paths.architecture()}/kubectl"
    published.files[path] = b"published"
    published.files[f"{path}.sha256"] = hashlib.sha256(b"published").hexdigest().encode()
    assert binaries.find(["kubectl"], sources, reporter).path("kubectl").read_bytes() == b"published"


def test_a_tampered_binary_is_reported_and_built_instead(
    tmp_path: pathlib.Path, published: published_files.Published, reporter: published_files.RecordingReporter
) -> None:
    sources = build_sources(tmp_path, url=published.url)
    write_go(tmp_path)
    path = f"/{versions.KUBERNETES}/bin/{binaries.paths.system()}/{binaries.paths.architecture()}/kubectl"
    published.files[path] = b"tampered"
    published.files[f"{path}.sha256"] = hashlib.sha256(b"published").hexdigest().encode()
    assert binaries.find(["kubectl"], sources, reporter).path("kubectl").read_bytes() == b"built"
    assert len(reporter.steps) == 1
    assert "refused" in reporter.steps[0]
    assert reporter.steps[0].endswith("building instead")


def test_a_build_counts_its_packages_and_happens_once(
    tmp_path: pathlib.Path, reporter: published_files.RecordingReporter
) -> None:
    sources = build_sources(tmp_path)
    write_go(tmp_path)
    for _ in range(2):
        found = binaries.find(binaries.CONTROL_PLANE[:1], sources, reporter)
        assert found.path("etcd").read_bytes() == b"built"
    assert (tmp_path / "builds").read_text().splitlines() == [str(build.module_dir("etcd"))]
    assert [(total, done) for _, total, done in reporter.bars] == [(None, 1), (2, 2)]


def test_a_failed_build_leaves_no_files_and_shows_the_output_of_go(
    tmp_path: pathlib.Path, reporter: published_files.RecordingReporter
) -> None:
    sources = build_sources(tmp_path)
    write_go(tmp_path, failure="no space left")
    with pytest.raises(errors.LocalClusterError, match="no space left"):
        binaries.find(["kubectl"], sources, reporter)
    assert [path for path in sources.cached("kubectl").parent.rglob("*") if path.name != "binaries.lock"] == []


def test_leftovers_of_a_killed_build_are_removed_by_the_next_build(
    tmp_path: pathlib.Path, reporter: published_files.RecordingReporter
) -> None:
    sources = build_sources(tmp_path)
    write_go(tmp_path)
    write_script(sources.cached("kubectl").parent / ".build-killed/kubectl", "half")
    binaries.find(["kubectl"], sources, reporter)
    assert [path.name for path in sources.cached("kubectl").parent.iterdir()] == ["kubectl"]


def test_the_go_wheel_is_used_when_go_on_the_path_is_too_old(tmp_path: pathlib.Path) -> None:
    sources = build_sources(tmp_path)
    old = write_go(tmp_path, version="1.19.8")
    assert build.find_go(sources.environment) != old


@pytest.mark.parametrize(
    ("name", "module"),
    [
        ("etcd", "go.etcd.io/etcd/server/v3"),
        ("kubectl", "k8s.io/kubernetes"),
        ("containerd", "github.com/containerd/containerd/v2"),
        ("coredns", "github.com/coredns/coredns"),
        ("kuberay-operator", "github.com/ray-project/kuberay/ray-operator"),
        ("helm", "helm.sh/helm/v4"),
        ("metrics-server", "sigs.k8s.io/metrics-server"),
        ("local-path-provisioner", "github.com/rancher/local-path-provisioner"),
    ],
)
def test_the_build_pins_the_version_that_is_announced(name: str, module: str) -> None:
    pinned = (build.module_dir(name) / "go.mod").read_text().split()
    assert pinned[pinned.index(module) + 1] == binaries.version_of(name)


def test_each_package_that_is_built_is_named_where_it_is_pinned() -> None:
    """Else `go build` of it fails for want of a checksum, on another machine than the author's."""
    for name, program in build.PROGRAMS.items():
        sources = "".join(path.read_text() for path in build.module_dir(name).glob("*.go"))
        assert f'"{program.package}"' in sources or program.package == ".", name


def test_what_has_no_published_file_is_not_taken_from_the_path(
    tmp_path: pathlib.Path, reporter: published_files.RecordingReporter
) -> None:
    sources = build_sources(tmp_path)
    write_script(tmp_path / "path/containerd", "#!/bin/sh\necho containerd v2.4.2\n")
    write_go(tmp_path)
    assert binaries.find(["containerd"], sources, reporter).path("containerd").read_bytes() == b"built"
