"""The connections between stages: the answers of the other end, an end that is gone, and one that comes back."""

from __future__ import annotations

import contextlib
import queue
import socket
import threading
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from tests.support.replica_parts import wait_until

from fairlead_runtime.errors import RequestError, RequestReason
from fairlead_runtime.model.predictor import InputRefusedError, ModelFailedError, Predictor, Tensors, ValueFailedError
from fairlead_runtime.server import listener
from fairlead_runtime.stages import links, wire
from fairlead_runtime.stages.links import Invitation, Links

ROWS = (np.arange(6, dtype=np.float32).reshape(2, 3),)


def double(inputs: Tensors) -> Tensors:
    return tuple(2 * each for each in inputs)


class Copies:
    """Copies of a stage, as Ray has them: each takes one invitation, one after the other, while there is one."""

    def __init__(self, *predictors: Predictor) -> None:
        self.waiting: queue.Queue[Predictor] = queue.Queue()
        self.asked: list[Invitation] = []
        for each in predictors:
            self.waiting.put(each)

    def join(self, invitation: Invitation) -> None:
        self.asked.append(invitation)
        with contextlib.suppress(OSError):
            links.connect_and_serve(invitation, self.waiting.get())


@contextlib.contextmanager
def linked(*stages: Copies, timeout_s: float = 30) -> Iterator[Links]:
    made = Links(
        listener.bind_free_port("127.0.0.1"), [each.join for each in stages], cut="c" * 64, timeout_s=timeout_s
    )
    try:
        yield made
    finally:
        made.close()
        for each in stages:
            each.waiting.put(double)


@pytest.mark.parametrize(
    "tensors",
    [
        pytest.param((), id="none"),
        pytest.param((np.float32(3.5) * np.ones(()),), id="a scalar"),
        pytest.param((np.zeros((0, 4), np.float64), np.ones((3, 0), np.int64)), id="without elements"),
        pytest.param((np.arange(24, dtype=np.int16).reshape(2, 3, 4).transpose(2, 0, 1),), id="not in one piece"),
        pytest.param((np.array([True, False]), np.array([1j], np.complex64), np.ones(3, np.float16)), id="many types"),
        pytest.param((np.random.default_rng(1).random((512, 1024)),), id="4 MiB"),
    ],
)
def test_tensors_arrive_as_they_were_sent(tensors: Tensors) -> None:
    one, other = socket.socketpair()
    with one, other:
        sender = threading.Thread(target=wire.send, args=(one, wire.Message(kind=wire.Kind.TENSORS, tensors=tensors)))
        sender.start()
        received = wire.receive(other)
        sender.join()
    assert received is not None
    assert [(each.dtype, each.shape) for each in received.tensors] == [(each.dtype, each.shape) for each in tensors]
    assert all(np.array_equal(a, b) for a, b in zip(received.tensors, tensors, strict=True))


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"GET / HTTP/1.1\r\n\r\n", id="HTTP"),
        pytest.param(b"\x02\xff\xff\xff\xff", id="an endless head"),
        pytest.param(b"\x02\x00\x00\x00\x01{", id="no JSON"),
        pytest.param(b"\x02\x00\x00\x00\x02{}", id="no list"),
        pytest.param(b'\x02\x00\x00\x00\x12[["object",[1,2]]]', id="objects"),
        pytest.param(b'\x02\x00\x00\x00\x10[["int8",[-1]]] ', id="a negative size"),
        pytest.param(b'\x02\x00\x00\x00\x1c[["int8",[99999,99999,99]]] ', id="a terabyte"),
        pytest.param(b'\x02\x00\x00\x00\x0e[["int8",[9]]]123', id="an end amid a tensor"),
    ],
)
def test_what_is_no_message_is_refused(content: bytes) -> None:
    one, other = socket.socketpair()
    with one, other:
        one.sendall(content)
        one.shutdown(socket.SHUT_WR)
        with pytest.raises(wire.WireError):
            wire.receive(other)


def test_stages_are_called_one_after_the_other() -> None:
    def add(inputs: Tensors) -> Tensors:
        return tuple(each + 1 for each in inputs)

    with linked(Copies(add), Copies(double)) as made:
        assert made.wait(100)
        (found,) = links.StagedPredictor(double, made)(ROWS)
        assert made.absent() is None
    assert np.array_equal(found, 2 * (2 * ROWS[0] + 1))


@pytest.mark.parametrize("error", [InputRefusedError("too long"), ModelFailedError("no"), ValueFailedError("NaN")])
def test_a_refusal_of_a_stage_is_that_of_the_model(error: Exception) -> None:
    def fail(_: Tensors) -> Tensors:
        raise error

    with linked(Copies(fail)) as made:
        assert made.wait(100)
        with pytest.raises(type(error), match=str(error)) as raised:
            made.links[0](ROWS)
        assert type(raised.value) is type(error)
        assert made.absent() is None, "the stage itself is well"


def breaking(end: Callable[[], None]) -> Predictor:
    def call(_: Tensors) -> Tensors:
        end()
        raise OSError

    return call


def test_a_request_whose_stage_stops_is_answered_by_the_next_copy() -> None:
    stage = Copies(breaking(lambda: None), double)
    with linked(stage) as made:
        assert made.wait(100)
        (found,) = made.links[0](ROWS)
    assert np.array_equal(found, 2 * ROWS[0])
    assert len(stage.asked) >= 2


def test_without_another_copy_requests_are_refused_until_there_is_one() -> None:
    stage = Copies(breaking(lambda: None))
    with linked(stage) as made:
        assert made.wait(100)
        for _ in range(2):
            with pytest.raises(RequestError, match="stage 2 of the model is not there; Ray starts it again") as refused:
                made.links[0](ROWS)
            assert refused.value.reason is RequestReason.STAGE_GONE
        assert made.absent() == "stage 2 of the model is not there; Ray starts it again"
        stage.waiting.put(double)
        assert made.wait(100)
        assert np.array_equal(made.links[0](ROWS)[0], 2 * ROWS[0])
        assert made.absent() is None


def test_a_stage_that_does_not_answer_in_time_is_given_up_and_not_asked_twice() -> None:
    calls, done = [], threading.Event()

    def hang(inputs: Tensors) -> Tensors:
        calls.append(inputs)
        done.wait(60)
        return inputs

    with linked(Copies(hang), timeout_s=1.0) as made:
        assert made.wait(100)
        with pytest.raises(RequestError, match="stage 2 of the model did not answer in time"):
            made.links[0](ROWS)
        done.set()
    assert len(calls) == 1


@pytest.mark.parametrize(
    "hello",
    [
        wire.Message(kind=wire.Kind.HELLO, text="0" * 64),
        wire.Message(kind=wire.Kind.HELLO, text="é"),
        wire.Message(kind=wire.Kind.HELLO, text="0" * 1000),
        wire.Message(kind=wire.Kind.TENSORS, tensors=ROWS),
    ],
)
def test_a_stranger_is_no_stage_and_keeps_none_waiting(hello: wire.Message) -> None:
    stage = Copies()
    with linked(stage) as made:
        wait_until(lambda: stage.asked)
        (invitation,) = stage.asked
        address = (invitation.host, invitation.port)
        with socket.create_connection(address), socket.create_connection(address) as stranger:
            wire.send(stranger, hello)
            with contextlib.suppress(ConnectionResetError):
                assert stranger.recv(1) == b""
            assert made.absent() is not None
            stage.waiting.put(double)
            assert made.wait(100)


def test_the_end_of_the_first_stage_lets_the_others_go() -> None:
    ended = threading.Event()

    class Noted(Copies):
        def join(self, invitation: Invitation) -> None:
            super().join(invitation)
            ended.set()

    with linked(Noted(double)) as made:
        assert made.wait(100)
    assert ended.wait(100)
