"""The second Ray cluster of a local cluster: what is started, and who knows it by which name."""

from __future__ import annotations

import pathlib

import pydantic
import pytest
import typer.testing

from fairlead_cli.local import commands, layout, options, programs, ray_head, ray_node


def test_a_second_class_is_a_ray_cluster_of_its_own_that_operator_gateway_and_replicas_know(
    tmp_path: pathlib.Path,
) -> None:
    where = layout.Layout(root=tmp_path / "root", run=tmp_path / "run")
    named = (*ray_head.PORTS, *ray_head.port_names(ray_node.SECOND), "gateway-data", "gateway-admin", "operator")
    given = {name: 10000 + number for number, name in enumerate(named)}
    chosen = options.Options(namespace="models", second_class="gpu", second_cpus=3)
    first, second = (ray_head.command(where, given, chosen, node) for node in (ray_node.HEAD, ray_node.SECOND))
    assert second.environment["FAIRLEAD_CLUSTER"] == "models/gpu"
    assert second.environment["FAIRLEAD_NODE_DIRECTORY"] == f"127.0.0.1:{given['second-directory']}"
    assert "--num-cpus=3" in second.argv
    same = {"--head", "--block", "--node-ip-address=127.0.0.1", "--dashboard-host=127.0.0.1"}
    shared = {word for word in set(first.argv) & set(second.argv) if word.startswith("--")}
    assert {word for word in shared if "port" in word} == {"--min-worker-port=0", "--max-worker-port=0"}
    assert same <= shared
    assert not {word for word in shared if "temp-dir" in word}
    assert (
        f"--ray=models/gpu=http://127.0.0.1:{given['second-dashboard']}" in programs.operator(where, given, chosen).argv
    )
    assert f"--node=gpu=127.0.0.1:{given['second-directory']}" in programs.gateway(where, given, chosen).argv
    assert not [word for word in programs.operator(where, given, options.Options()).argv if "/gpu=" in word]


@pytest.mark.parametrize("name", ["default", "Gpu", "-gpu", "gpu-", "g/u", "g" * 40])
def test_the_name_of_a_second_class_is_one_that_a_model_may_choose(name: str) -> None:
    with pytest.raises(pydantic.ValidationError, match="must start with a letter"):
        options.Options(second_class=name)
    refused = typer.testing.CliRunner().invoke(commands.app, ["up", "--second-class", name])
    assert refused.exit_code == 2
    assert "must start with a letter" in " ".join(refused.output.split())
