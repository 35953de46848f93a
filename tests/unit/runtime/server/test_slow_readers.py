"""Slow readers get their whole answer, also from a draining replica; clients that never read are bounded."""

from __future__ import annotations

import socket
import threading

import numpy as np
import pytest
from tests.support.replica_parts import MODEL, Running, Setting, running, wait_until

from fairlead_runtime.inference.dataplane import Phase
from fairlead_runtime.model.signature import DType, Signature, TensorSpec
from fairlead_runtime.server.limits import ServerLimits

NUMBERS = 3_000_000
ASK = b'{"inputs":[{"name":"x","datatype":"FP32","shape":[1,1],"data":[1]}],"parameters":{"binary_data_output":true}}'
WIDE = Signature(
    name="s",
    method="",
    inputs=(TensorSpec(name="x", dtype=DType.FLOAT32, shape=(None, 1)),),
    outputs=(TensorSpec(name="y", dtype=DType.FLOAT32, shape=(None, NUMBERS)),),
)


def wide(limits: ServerLimits) -> Setting:
    values = np.arange(NUMBERS, dtype=np.float32).reshape(1, -1)
    return Setting(signature=WIDE, model=lambda _: (values,), limits=limits)


def ask(replica: Running, *headers: bytes) -> socket.socket:
    """A client whose kernel takes little, so that the rest of the answer stays with the replica until it reads."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32 * 1024)
    client.settimeout(100)
    client.connect(("127.0.0.1", replica.port))
    head = f"POST /v2/models/{MODEL}/infer HTTP/1.1\r\nhost: x\r\ncontent-length: {len(ASK)}\r\n".encode()
    client.sendall(head + b"".join(headers) + b"\r\n" + ASK)
    return client


def read(client: socket.socket, size: int) -> int:
    """How many of `size` bytes come before the connection ends."""
    got = 0
    while got < size:
        chunk = client.recv(min(65536, size - got))
        if not chunk:
            break
        got += len(chunk)
    return got


def expected_bytes(first: bytes) -> int:
    head, _, rest = first.partition(b"\r\n\r\n")
    length = next(line for line in head.split(b"\r\n") if line.startswith(b"content-length: "))
    return int(length.removeprefix(b"content-length: ")) - len(rest)


@pytest.mark.parametrize("headers", [(), (b"connection: close\r\n",)], ids=["keep-alive", "close"])
def test_an_answer_read_slowly_is_complete(headers: tuple[bytes, ...]) -> None:
    limits = ServerLimits(body_bytes_max=1024, linger_s=0.05, idle_timeout_s=0.05, write_timeout_s=60)
    with running(wide(limits)) as replica, ask(replica, *headers) as client:
        left = expected_bytes(client.recv(1000))
        assert read(client, 1_000_000) == 1_000_000
        # The limits have long passed when the server has looked at its clock so often.
        looks = count_looks(replica)
        wait_until(lambda: looks() > 3)
        assert read(client, left) == left - 1_000_000


def count_looks(replica: Running):
    """How often the server has looked after its connections since now."""
    seen = {"beats": 0, "last": replica.server._last_beat_s}

    def looks() -> int:
        if replica.server._last_beat_s != seen["last"]:
            seen["last"], seen["beats"] = replica.server._last_beat_s, seen["beats"] + 1
        return int(seen["beats"])

    return looks


@pytest.mark.parametrize("headers", [(), (b"connection: close\r\n",)], ids=["keep-alive", "close"])
def test_a_draining_replica_waits_for_a_client_that_still_reads(headers: tuple[bytes, ...]) -> None:
    limits = ServerLimits(body_bytes_max=1024, linger_s=0.05, write_timeout_s=60)
    with running(wide(limits)) as replica, ask(replica, *headers) as client:
        left = expected_bytes(client.recv(1000))
        replica.parts.plane.phase = Phase.DRAINING
        drained = threading.Thread(target=replica.server.drain, kwargs={"timeout_s": 60})
        drained.start()
        # All but the wait for readers is over when the port is closed and the moment for the others has passed.
        wait_until(lambda: not replica.server._server.is_serving())
        looks = count_looks(replica)
        wait_until(lambda: looks() > 6)
        assert read(client, left) == left
        drained.join(100)
        assert not drained.is_alive()


@pytest.mark.parametrize("headers", [(), (b"connection: close\r\n",)], ids=["keep-alive", "close"])
def test_a_client_that_never_reads_is_dropped_with_its_answer(headers: tuple[bytes, ...]) -> None:
    limits = ServerLimits(body_bytes_max=1024, linger_s=60, idle_timeout_s=60, write_timeout_s=0.3)
    with running(wide(limits)) as replica, ask(replica, *headers):
        wait_until(lambda: replica.parts.metrics.latency.buckets()[1] > 0)
        wait_until(lambda: not replica.parts.shared.connections)


def test_a_client_that_reads_too_slowly_is_dropped() -> None:
    limits = ServerLimits(body_bytes_max=1024, idle_timeout_s=60, write_timeout_s=0.5)
    with running(wide(limits)) as replica, ask(replica) as client:
        wait_until(lambda: replica.parts.metrics.latency.buckets()[1] > 0)

        def sip() -> bool:
            try:
                client.recv(1)
            except ConnectionResetError:
                return True
            return not replica.parts.shared.connections

        wait_until(sip)
