"""A gateway that stops fails no gRPC call: those on their way are answered, and later ones go to another gateway."""

from __future__ import annotations

import contextlib
import operator
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
from tests.support import one_way_relay, replica_parts
from tests.support.gateway_process import Gateway, make_node, revision, spec
from tests.support.until import until

from fairlead_runtime.protocols.grpc import v2_messages

pytestmark = pytest.mark.real

A = "aaaaaaaaaa"
V2 = v2_messages.MESSAGES
CHANNELS = 8


@pytest.fixture
def gateways(tmp_path: Path) -> Iterator[tuple[Gateway, Gateway]]:
    """Two gateways with the same replica. They serve on until a second signal."""
    node = make_node(tmp_path / "node")
    first = Gateway(tmp_path / "one", nodes=[node], stop_delay_s=3600, stop_grace_s=200)
    made = first, Gateway(tmp_path / "two", nodes=[node])
    with replica_parts.running(replica_parts.Setting(revision=A, node=node)):
        try:
            for gateway in made:
                gateway.start()
            for gateway in made:
                gateway.apply(digits=spec(A, {A: revision()}))
                gateway.wait_up("digits", A)
            yield made
        finally:
            if made[0].is_running():
                _stop(made[0])
            for gateway in made:
                gateway.stop()


def _open(*ports: int) -> grpc.Channel:
    """A channel with a connection of its own to the first of these ports that takes it."""
    target = "ipv4:" + ",".join(f"127.0.0.1:{port}" for port in ports)
    # The authority of several addresses would be no valid one.
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.default_authority", "fairlead")]
    return grpc.insecure_channel(target, options=options)


def _call(channel: grpc.Channel, model: str = "digits") -> grpc.StatusCode:
    """The status of one prediction."""
    request = V2["ModelInferRequest"](model_name=model)
    item = request.inputs.add(name="x", datatype="FP32", shape=(1, 4))
    item.contents.fp32_contents.extend([1, 2, 3, 4])
    method = channel.unary_unary(
        "/inference.GRPCInferenceService/ModelInfer",
        request_serializer=lambda message: message.SerializeToString(),
        response_deserializer=V2["ModelInferResponse"].FromString,
    )
    try:
        answer = method(request, timeout=60)
    except grpc.RpcError as error:
        failed: Any = error
        code: grpc.StatusCode = failed.code()
        return code
    assert list(answer.outputs[0].contents.fp32_contents) == [2, 4, 6, 8]
    return grpc.StatusCode.OK


def _stop(gateway: Gateway) -> None:
    """Tell it to stop, and not to wait for its clients."""
    os.kill(gateway.pid, signal.SIGTERM)
    until(lambda: not gateway.is_ready(), "it took the first signal")
    os.kill(gateway.pid, signal.SIGTERM)
    until(lambda: not gateway.servers_up(), "HAProxy has begun to stop and listens nowhere")


@pytest.mark.parametrize(
    ("model", "expected"),
    [("digits", grpc.StatusCode.OK), ("cats", grpc.StatusCode.UNAVAILABLE)],
    ids=["known", "unknown"],
)
def test_a_call_that_is_on_its_way_as_the_gateway_ends_is_answered(
    gateways: tuple[Gateway, Gateway], model: str, expected: grpc.StatusCode
) -> None:
    """The client has not yet heard that the connection ends."""
    gateway, _ = gateways
    with (
        one_way_relay.relay_to(gateway.data_port) as relay,
        contextlib.ExitStack() as opened,
        ThreadPoolExecutor(CHANNELS) as pool,
    ):
        channels = [opened.enter_context(_open(relay.port)) for _ in range(CHANNELS)]
        assert {_call(channel) for channel in channels} == {grpc.StatusCode.OK}
        relay.keep_back()
        _stop(gateway)

        before = list(relay.sent_bytes)
        calls = [pool.submit(_call, channel, model) for channel in channels]
        until(lambda: all(map(operator.lt, before, relay.sent_bytes)), "each call is at the gateway")
        relay.let_go()

        assert [each.result() for each in calls] == [expected] * CHANNELS


def test_calls_of_kept_channels_go_to_another_gateway(gateways: tuple[Gateway, Gateway]) -> None:
    ports = [gateway.data_port for gateway in gateways]
    stop, counts, failed = threading.Event(), [0] * CHANNELS, list[grpc.StatusCode]()

    def call(index: int) -> None:
        with _open(*ports) as channel:
            while not stop.is_set():
                if (status := _call(channel)) is not grpc.StatusCode.OK:
                    failed.append(status)
                counts[index] += 1

    def go_on() -> None:
        so_far = list(counts)
        until(lambda: all(now > then + 20 for now, then in zip(counts, so_far, strict=True)), "calls go on")

    with ThreadPoolExecutor(CHANNELS) as pool:
        calling = [pool.submit(call, index) for index in range(CHANNELS)]
        try:
            go_on()
            _stop(gateways[0])
            go_on()
        finally:
            stop.set()
        for each in calling:
            each.result()
    assert failed == [], f"{len(failed)} of {sum(counts)}"
    until(lambda: not gateways[0].is_running(), "it ended")
    words = (gateways[0].state_dir / "haproxy.log").read_text()
    assert "exited with code 0 (Exit)" in words, "no client has a connection, and it was ended hard"
