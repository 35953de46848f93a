"""A second gateway of the namespace for as long as a test needs it: another agent, another HAProxy, one operator."""

from __future__ import annotations

import dataclasses
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
from tests.e2e.stage import Stage
from tests.support.free_ports import free_ports
from tests.support.until import until

from fairlead_cli.local import cluster, processes, programs, ray_node, state

NAME = "gateway-2"
GRACE_S = 3.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Gateway:
    """Where it is reached, and its agent's process."""

    data_url: str
    admin_url: str
    agent_pid: int

    def version(self, model: str) -> str | None:
        """The version of the model's route that its HAProxy was read to have."""
        answer = httpx.get(f"{self.admin_url}/v1/routes", timeout=10).raise_for_status()
        found = answer.json()["routes"].get(model)
        return str(found["version"]) if found is not None else None

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Its agent takes connections and answers nothing; its HAProxy goes on with the table that it has."""
        os.kill(self.agent_pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self.agent_pid, signal.SIGCONT)


@contextmanager
def two_gateways(stage: Stage) -> Iterator[Gateway]:
    """The operator is started again with both, and at the end with the first one alone."""
    local = stage.local
    remembered = _remembered(local)
    data, admin = free_ports(2)
    ledger = processes.Ledger(folder=local.root / "processes", mark=remembered.mark)
    started = ledger.start(NAME, _command(local, data, admin))
    until(lambda: programs.is_healthy(admin), "the second gateway is healthy", deadline_s=400)
    urls = (f"http://127.0.0.1:{data}", f"http://127.0.0.1:{admin}")
    try:
        _start_operator_with(local, (f"--gateway={local.namespace}={','.join(urls)}",))
        yield Gateway(data_url=urls[0], admin_url=urls[1], agent_pid=started.pid)
    finally:
        _start_operator_with(local, ())
        ledger.stop(NAME, grace_s=GRACE_S)


def _command(local: cluster.LocalCluster, data: int, admin: int) -> processes.Command:
    account = local.service_account_kubeconfig(local.namespace, programs.GATEWAY_ACCOUNT)
    argv = [
        programs.script("fairlead-gateway"),
        f"--kubeconfig={account}",
        f"--namespace={local.namespace}",
        f"--listen=127.0.0.1:{data}",
        f"--admin=127.0.0.1:{admin}",
        f"--state-dir={local.root / NAME}",
        *ray_node.gateway_arguments(local.ports, _remembered(local).chosen),
        "--stop-delay=0",
    ]
    return processes.Command(argv=argv, log=local.logs / f"{NAME}.log")


def _start_operator_with(local: cluster.LocalCluster, arguments: tuple[str, ...]) -> None:
    remembered = _remembered(local)
    chosen = remembered.chosen.model_copy(update={"operator_arguments": arguments})
    remembered.model_copy(update={"chosen": chosen}).write(local.root / "state.json")
    local.restart("operator")


def _remembered(local: cluster.LocalCluster) -> state.State:
    found = state.State.read(local.root / "state.json")
    assert found is not None
    return found
