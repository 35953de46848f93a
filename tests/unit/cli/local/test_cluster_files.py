"""What a cluster writes and picks before anything is started."""

from __future__ import annotations

import pathlib

import pytest
import yaml
from cryptography import x509

from fairlead_cli.local import (
    kubeconfig,
    layout,
    manifests,
    options,
    parts,
    pki,
    ports,
    ray_head,
    ray_node,
    ray_worker,
    state,
)


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


def test_ports_are_outside_the_kernels_range() -> None:
    taken: set[int] = set()
    for _ in range(50):
        taken.add(ports.pick(taken))
    assert len(taken) == 50
    assert max(taken) < 20000


def test_each_ray_node_has_its_own_folder_and_address_and_the_gateway_asks_all_of_them(tmp_path: pathlib.Path) -> None:
    where = layout.Layout(root=tmp_path / "root", run=tmp_path / "run")
    given = {name: 10000 + number for number, name in enumerate((*ray_head.PORTS, *ray_worker.PORTS))}
    chosen = options.Options(namespace="models", ray_nodes=2)
    commands = (ray_head.command(where, given, chosen), ray_worker.command(where, given, chosen))
    named = ray_node.variables(ray_node.HEAD, where, given, chosen)
    head, worker = ({name: each.environment[name] for name in named} for each in commands)
    assert head == {
        "FAIRLEAD_CLUSTER": "models/default",
        "FAIRLEAD_REPLICA_HOST": "127.0.0.1",
        "FAIRLEAD_NODE_FOLDER": str(tmp_path / "run/nodes/ray"),
        "FAIRLEAD_NODE_DIRECTORY": f"127.0.0.1:{given['ray-directory']}",
    }
    assert worker == {
        "FAIRLEAD_CLUSTER": "models/default",
        "FAIRLEAD_REPLICA_HOST": "127.0.0.2",
        "FAIRLEAD_NODE_FOLDER": str(tmp_path / "run/nodes/worker"),
        "FAIRLEAD_NODE_DIRECTORY": f"127.0.0.2:{given['worker-directory']}",
    }
    flags = ray_node.gateway_arguments(given, chosen)
    assert flags == tuple(f"--node=default={each['FAIRLEAD_NODE_DIRECTORY']}" for each in (head, worker))
    assert ray_node.gateway_arguments(given, options.Options()) == flags[:1]
    joins = next(word for word in commands[1].argv if word.startswith("--address="))
    assert joins.endswith(f":{given['ray-gcs']}")


@pytest.mark.parametrize("part", ["ray", "second"])
def test_a_unix_socket_of_ray_fits_into_its_folder(tmp_path: pathlib.Path, part: str) -> None:
    where = layout.Layout(root=tmp_path, run=state.run_dir(tmp_path / ("y" * 200)))
    session = "session_2026-11-24_10-47-59_292904_1234567/sockets/plasma_store"
    assert len(f"{where.ray_temp(part)}/{session}") <= 107


def test_state_is_read_as_it_was_written(tmp_path: pathlib.Path) -> None:
    new = state.State.new("demo", tmp_path, options.Options(namespace="models"))
    new.write(tmp_path / "state.json")
    assert state.State.read(tmp_path / "state.json") == new
    assert state.State.read(tmp_path / "none") is None


def test_the_operator_is_bound_in_the_models_namespace_only() -> None:
    objects = [each for each in yaml.safe_load_all(manifests.render("models")) if each]
    bindings = {(each["kind"], each["metadata"]["name"], each["metadata"].get("namespace")) for each in objects}
    assert ("RoleBinding", "fairlead-operator", "models") in bindings
    everywhere = {name for kind, name, _ in bindings if kind == "ClusterRoleBinding"}
    deletion, classes = "fairlead-operator-deletion", "fairlead-operator-classes"
    assert everywhere == {deletion, classes}, "what a namespace's end needs, and what belongs to no namespace"
    assert "${" not in manifests.render("models")


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        pytest.param([], parts.KUBERNETES, id="Kubernetes always"),
        pytest.param(["ray"], (*parts.KUBERNETES, "ray"), id="Ray needs nothing else"),
        pytest.param(["operator"], parts.USUAL, id="the operator needs all but a second Ray node"),
        pytest.param(["worker"], (*parts.KUBERNETES, "ray", "worker"), id="a second Ray node needs the first"),
        pytest.param(["gateway"], (*parts.KUBERNETES, "gateway"), id="the gateway needs no Ray"),
    ],
)
def test_a_part_is_started_with_the_parts_that_it_needs(wanted: list[str], expected: tuple[str, ...]) -> None:
    assert parts.with_needs(wanted) == expected
