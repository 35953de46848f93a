"""What a cluster writes and picks before anything is started."""

from __future__ import annotations

import pathlib

import pytest
import yaml
from cryptography import x509

from fairlead_cli.local import errors, kubeconfig, manifests, options, parts, pki, ports, slices, state


def test_keys_and_kubeconfigs_are_for_their_owner_only(tmp_path: pathlib.Path) -> None:
    authority = pki.Authority(tmp_path / "pki")
    pair = authority.issue("admin", "admin", group="system:masters")
    authority.service_account_key()
    kubeconfig.write(
        tmp_path / "pki/kubeconfig",
        server="https://127.0.0.1:1",
        authority=authority.certificate,
        user=kubeconfig.certificate_user(pair),
        namespace="default",
    )
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "pki").iterdir()} == {0o600}
    assert (tmp_path / "pki").stat().st_mode & 0o777 == 0o700


def test_a_certificate_carries_its_user_and_group(tmp_path: pathlib.Path) -> None:
    pair = pki.Authority(tmp_path / "pki").issue("admin", "admin", group="system:masters")
    certificate = x509.load_pem_x509_certificate(pair.certificate.read_bytes())
    assert certificate.subject.rfc4514_string() == "CN=admin,O=system:masters"
    issuer = x509.load_pem_x509_certificate((tmp_path / "pki/ca.crt").read_bytes())
    certificate.verify_directly_issued_by(issuer)


def test_ports_are_outside_the_replicas_and_the_kernels_range() -> None:
    taken: set[int] = set()
    for _ in range(50):
        taken.add(ports.pick(taken))
    assert len(taken) == 50
    assert max(taken) < 20000


def test_two_living_clusters_never_share_replica_ports(tmp_path: pathlib.Path) -> None:
    claims = []
    for name in ("a", "b"):
        run, root = tmp_path / f"{state.RUN_PREFIX}{name}", tmp_path / name
        run.mkdir()
        root.mkdir()
        (root / "state.json").touch()
        claims.append(slices.claim(run, root))
    (_, last_of_a), (first_of_b, last_of_b) = claims
    assert last_of_a < first_of_b
    assert last_of_b <= 32767


def test_the_ports_of_a_cluster_that_is_gone_are_given_again(tmp_path: pathlib.Path) -> None:
    first = tmp_path / f"{state.RUN_PREFIX}a"
    second = tmp_path / f"{state.RUN_PREFIX}b"
    first.mkdir()
    second.mkdir()
    assert slices.claim(first, tmp_path / "gone") == slices.claim(second, tmp_path / "b")


def test_when_all_replica_ports_are_taken_it_says_what_helps(tmp_path: pathlib.Path) -> None:
    def claim_for(number: int) -> tuple[int, int]:
        run, root = tmp_path / f"{state.RUN_PREFIX}{number}", tmp_path / str(number)
        run.mkdir()
        root.mkdir()
        (root / "state.json").touch()
        return slices.claim(run, root)

    claimed = {claim_for(number) for number in range(12)}
    assert len(claimed) == 12
    with pytest.raises(errors.LocalClusterError, match="local down"):
        claim_for(12)


def test_a_unix_socket_of_ray_fits_into_its_folder(tmp_path: pathlib.Path) -> None:
    deep = tmp_path / ("y" * 200)
    session = "session_2026-11-24_10-47-59_292904_1234567/sockets/plasma_store"
    assert len(f"{state.run_dir(deep)}/ray/{session}") <= 107


def test_state_is_read_as_it_was_written(tmp_path: pathlib.Path) -> None:
    new = state.State.new("demo", tmp_path, options.Options(namespace="models"))
    new.write(tmp_path / "state.json")
    assert state.State.read(tmp_path / "state.json") == new
    assert state.State.read(tmp_path / "none") is None


def test_the_operator_is_bound_in_the_models_namespace_only() -> None:
    objects = [each for each in yaml.safe_load_all(manifests.render("models")) if each]
    bindings = {(each["kind"], each["metadata"]["name"], each["metadata"].get("namespace")) for each in objects}
    assert ("RoleBinding", "fairlead-operator", "models") in bindings
    assert not [each for each in bindings if each[0] == "ClusterRoleBinding"]
    assert "${" not in manifests.render("models")


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        pytest.param([], parts.KUBERNETES, id="Kubernetes always"),
        pytest.param(["ray"], (*parts.KUBERNETES, "ray"), id="Ray needs nothing else"),
        pytest.param(["operator"], tuple(parts.TABLE), id="the operator needs all"),
        pytest.param(["gateway"], (*parts.KUBERNETES, "gateway"), id="the gateway needs no Ray"),
    ],
)
def test_what_a_part_needs_is_started_too(wanted: list[str], expected: tuple[str, ...]) -> None:
    assert parts.with_needs(wanted) == expected
