"""What a node's files hold, which addresses it takes, and what an image's tag depends on; nothing is started."""

from __future__ import annotations

import ipaddress
import json
import pathlib
import tomllib

import pytest

from fairlead_cli.local import build, either, errors
from fairlead_cli.local.node import addresses, cgroups, cluster, configuration, image_builder, nodes, parts


def make_files(tmp_path: pathlib.Path, *, number: int = 1) -> dict[str, str]:
    paths = configuration.Paths(
        folder=tmp_path,
        authority=tmp_path / "ca.crt",
        kubelet_certificate=tmp_path / "kubelet.crt",
        kubelet_key=tmp_path / "kubelet.key",
        kube_proxy_kubeconfig=tmp_path / "kube-proxy.kubeconfig",
        runc=tmp_path / "runc",
        network_plugins=tmp_path / "cni",
        registry_storage=tmp_path / "registry",
    )
    at, node = addresses.Addresses(block=70), nodes.Node(number=number)
    pause = "registry.node/fairlead/pause:1"
    return dict(configuration.files(paths, at, node, group=node.control_group("fairlead-1"), pause=pause))


def test_the_first_block_without_a_route_is_taken() -> None:
    used = ["127.0.0.0/8", "10.64.3.0/24", "10.65.0.1/30", "0.0.0.0/0"]
    assert addresses.free(used).all == "10.66.0.0/16"


def test_a_route_that_covers_all_blocks_is_said() -> None:
    with pytest.raises(errors.LocalClusterError, match=r"routes to all of 10\.64\.0\.0 to 10\.127"):
        addresses.free(["10.0.0.0/8"])


def test_the_ranges_of_a_block_don_t_overlap() -> None:
    at = addresses.Addresses(block=64)
    services, pods = ipaddress.ip_network(at.services), ipaddress.ip_network(at.pods)
    assert not services.overlaps(pods)
    assert ipaddress.ip_address(at.dns_service) in services
    assert ipaddress.ip_address(at.api_service) == services[1]
    assert all(ipaddress.ip_address(each) not in services for each in (at.host, at.node))


def test_each_node_has_an_end_of_a_veth_and_pods_of_its_own() -> None:
    at = addresses.Addresses(block=64)
    numbers = (1, 2, 3, 4)
    ends = {each for number in numbers for each in (at.near_end(number), at.node_address(number))}
    assert len(ends) == 8
    for number in numbers:
        veth = ipaddress.IPv4Network(f"{at.near_end(number)}/30", strict=False)
        assert {str(each) for each in veth.hosts()} == {at.near_end(number), at.node_address(number)}
        assert veth.subnet_of(ipaddress.IPv4Network(at.nodes))
    of_each = [ipaddress.IPv4Network(at.pods_of(number)) for number in numbers]
    assert list(ipaddress.collapse_addresses(of_each)) == [ipaddress.IPv4Network(at.pods)]


def test_containerd_reads_its_configuration_as_meant(tmp_path: pathlib.Path) -> None:
    read = tomllib.loads(make_files(tmp_path)["containerd.toml"])
    images = read["plugins"]["io.containerd.cri.v1.images"]
    assert images["pinned_images"]["sandbox"] == "registry.node/fairlead/pause:1"
    assert pathlib.Path(images["registry"]["config_path"]) == tmp_path / "registries"
    assert read["plugins"]["io.containerd.server.v1.grpc"]["address"] == configuration.SOCKET


def test_pods_ask_the_name_server_and_the_node_keeps_to_its_group(tmp_path: pathlib.Path) -> None:
    kubelet = json.loads(make_files(tmp_path)["kubelet.json"])
    assert kubelet["clusterDNS"] == ["10.70.64.10"]
    assert kubelet["cgroupRoot"] == "/fairlead-1"
    assert kubelet["authentication"]["anonymous"] == {"enabled": False}


def test_a_second_node_has_addresses_and_a_group_of_its_own_and_no_registry(tmp_path: pathlib.Path) -> None:
    first, second = make_files(tmp_path), make_files(tmp_path, number=2)
    kubelet, proxy = json.loads(second["kubelet.json"]), json.loads(second["kube-proxy.json"])
    assert (kubelet["address"], proxy["bindAddress"]) == ("10.70.0.6", "10.70.0.6")
    assert kubelet["cgroupRoot"] == "/fairlead-1/node-2"
    (ranges,) = json.loads(second["network/10-node.conflist"])["plugins"][0]["ipam"]["ranges"]
    assert ranges == [{"subnet": "10.70.160.0/19"}]
    assert set(first) - set(second) == {"registry.json"}
    assert second["registries/registry.node/hosts.toml"] == first["registries/registry.node/hosts.toml"]


@pytest.mark.parametrize("part", ["kubelet", "kubelet-2", "kube-proxy", "kube-proxy-2", "node", "node-2"])
def test_a_part_s_name_says_its_node_and_program(part: str) -> None:
    node, program = nodes.program_of(part)
    assert node.part(program) == part
    assert node.number == (2 if part.endswith("-2") else 1)


def test_another_number_of_nodes_is_refused_with_what_to_do() -> None:
    nodes.require_same_count("kept", None, 2)
    nodes.require_same_count("kept", 2, 2)
    with pytest.raises(errors.LocalClusterError, match=r"--nodes 1`\. To start it with `--nodes 2`, remove it first"):
        nodes.require_same_count("kept", 2, 1)


def test_control_groups_of_both_versions_are_found() -> None:
    mountinfo = (
        "30 24 0:26 / /sys/fs/cgroup rw,relatime shared:9 - tmpfs tmpfs rw,mode=755\n"
        "31 30 0:27 / /sys/fs/cgroup/cpu rw,relatime shared:10 - cgroup cgroup rw,cpu\n"
        "32 30 0:28 / /sys/fs/cgroup/unified rw,relatime shared:11 - cgroup2 cgroup2 rw\n"
        "33 24 0:29 / /proc rw,relatime - proc proc rw\n"
    )
    found = [str(each) for each in cgroups.hierarchies(mountinfo)]
    assert found == ["/sys/fs/cgroup/cpu", "/sys/fs/cgroup/unified"]


def test_an_image_s_tag_changes_with_each_thing_that_it_is_made_of(tmp_path: pathlib.Path) -> None:
    containerfile, program = tmp_path / "Containerfile", tmp_path / "program"
    containerfile.write_text("FROM scratch")
    program.write_text("1")

    def tag(name: str = "program", bases: dict[str, image_builder.Image] | None = None) -> str:
        return image_builder.Image(
            name="some", containerfile=containerfile, files={name: program}, bases=bases or {}
        ).tag

    first = tag()
    assert tag() == first
    others = {tag("renamed"), tag(bases={"BASE": image_builder.program("base", program)})}
    program.write_text("2")
    others.add(tag())
    containerfile.write_text("FROM scratch\nUSER 1")
    others.add(tag())
    assert len({first, *others}) == 5


def test_every_program_of_the_node_can_be_built() -> None:
    assert {"kubelet", "kube-proxy", "kube-scheduler", "containerd"} <= set(build.PROGRAMS)
    assert set(parts.TABLE) - {"registry"} <= set(build.PROGRAMS)


def test_a_cluster_is_opened_as_the_kind_that_it_was_started_as(tmp_path: pathlib.Path) -> None:
    """Also where its state can't be read: `down` has more to remove of one with a node."""
    for name in ("with", "without"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "state.json").write_text("damaged")
    (tmp_path / "with" / "has-a-node").touch()
    assert isinstance(either.opened("with", tmp_path / "with"), cluster.NodeCluster)
    assert not isinstance(either.opened("without", tmp_path / "without"), cluster.NodeCluster)
