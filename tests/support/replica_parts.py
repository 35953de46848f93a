"""A replica without TensorFlow and Ray: a stand-in model behind the real data plane, protocols and server."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import orjson

from fairlead_runtime.config import NodeEnvironment, Payloads
from fairlead_runtime.discovery import entry, member
from fairlead_runtime.feedback import keys, wiring
from fairlead_runtime.inference import batching, costs, dataplane, executor
from fairlead_runtime.inference.attribution_sampling import AttributionSampler, Comparison, find_comparison
from fairlead_runtime.inference.guarding import Guards
from fairlead_runtime.inference.sampling import RowSampler
from fairlead_runtime.metrics import ReplicaMetrics
from fairlead_runtime.model import evaluation_record, http_fetch
from fairlead_runtime.model.explaining.explainer import Explainer
from fairlead_runtime.model.fetching import outbound, purposes
from fairlead_runtime.model.predictor import LoadedModel, Tensors
from fairlead_runtime.model.reference_statistics import Attributions, Found, ReferenceStatistics
from fairlead_runtime.model.row_features import RowReader
from fairlead_runtime.model.signature import DType, Signature, TensorSpec, example_inputs
from fairlead_runtime.model.variant import VariantChoice
from fairlead_runtime.model.warmup import Speed, WarmUp
from fairlead_runtime.payloads import http_sink
from fairlead_runtime.payloads.log import PayloadLog
from fairlead_runtime.payloads.sink import Sink
from fairlead_runtime.protocols.handler import Handler
from fairlead_runtime.protocols.http import Request, Response
from fairlead_runtime.server import listener, writer
from fairlead_runtime.server.connection import Shared
from fairlead_runtime.server.limits import ServerLimits
from fairlead_runtime.server.thread import ServerThread
from fairlead_runtime.shadow import mirror
from fairlead_runtime.sketches import Sketch

MODEL = "digits"
REVISION = "3f0c9a1b2d"
DIGEST = "sha256:" + "ab" * 32
ROW = 4


def name_of(revision: str) -> str:
    """The name of a test's one replica of a revision."""
    return f"{revision}-0123456789abcdef"


NAME = name_of(REVISION)


def float_signature(*, rows: int | None = None) -> Signature:
    """One float32 input `x` of four numbers a row, one output `y` of the same shape."""
    return Signature(
        name="serving_default",
        method="tensorflow/serving/predict",
        inputs=(TensorSpec(name="x", dtype=DType.FLOAT32, shape=(rows, ROW)),),
        outputs=(TensorSpec(name="y", dtype=DType.FLOAT32, shape=(rows, ROW)),),
    )


@dataclass
class DoublingModel:
    """Doubles its inputs; remembers the rows of each call, and waits for `gate` where one is set."""

    gate: threading.Event | None = None
    rows: list[int] = field(default_factory=list)
    begun: threading.Event = field(default_factory=threading.Event)

    def __call__(self, inputs: Tensors) -> Tensors:
        self.rows.append(inputs[0].shape[0])
        self.begun.set()
        if self.gate is not None:
            self.gate.wait(200)
        return tuple(np.asarray(array * 2) if array.dtype != object else array for array in inputs)


@dataclass(frozen=True)
class FixedCosts:
    """Every call is said to take so long, whatever it takes: so a test decides where calls run."""

    call_s: float

    def predict_s(self, _size: costs.Size) -> float:
        return self.call_s

    def observe(self, size: costs.Size, spent_s: float) -> None:
        """Learns nothing."""


def loopback_sink(url: str, *, send_s: float = http_sink.SEND_S) -> http_sink.HttpSink:
    """A sink on this machine, where the platform allows it."""
    rules = outbound.Outbound(
        hosts=("127.0.0.1",), networks=outbound.parse_networks("127.0.0.0/8"), purpose=purposes.PAYLOADS
    )
    return http_sink.HttpSink(url, rules, lambda: http_fetch.trust(None), send_s=send_s)


@dataclass(kw_only=True)
class Setting:
    """What a test wants of its replica."""

    signature: Signature = field(default_factory=float_signature)
    model: Callable[[Tensors], Tensors] = field(default_factory=DoublingModel)
    call_s: float = 0.0
    costs: costs.Costs | None = None
    sharing: batching.Sharing | None = None
    ongoing_max: int = 64
    queued_max: int = 256
    timeout_s: float = 30
    namespace: str = "default"
    revision: str = REVISION
    node: NodeEnvironment | None = None
    """The Ray node whose directory lists the replica; without one only its port leads to it."""
    secret: str | None = "a cluster's token"
    folder: str | None = None
    evaluation: evaluation_record.Found = evaluation_record.NOTHING
    variant: VariantChoice | None = None
    sketches: Sequence[Sketch] = ()
    limits: ServerLimits = field(default_factory=lambda: ServerLimits(body_bytes_max=64 * 1024))
    guards: Guards | None = None
    payloads: Payloads | None = None
    open_sink: Callable[[Payloads], Sink] = lambda settings: loopback_sink(settings.url)
    attributions: Attributions | None = None
    """The reference of sampled explanations: with one, a row a second is explained."""
    warm_up: WarmUp | None = None
    """None: the model answered one row of zeros."""
    record: Callable[[Request, Response, float], None] | None = None
    """What takes answers where requests are traced."""

    @property
    def name(self) -> str:
        return name_of(self.revision)


@dataclass
class Parts:
    """The assembled replica; `shared` is what its connections have in common."""

    plane: dataplane.Dataplane
    metrics: ReplicaMetrics
    handler: Handler
    shared: Shared
    copy_mark: Callable[[str], str]
    payloads: PayloadLog


def answered_warm_up(signature: Signature) -> WarmUp:
    return WarmUp(speed=Speed(call_s={1: 0.0}), example=example_inputs(signature, 1), refusal=None)


def assemble(loop: asyncio.AbstractEventLoop, setting: Setting) -> Parts:
    labels = {"namespace": setting.namespace, "model": MODEL, "revision": setting.revision, "replica": setting.name}
    metrics = ReplicaMetrics(labels)
    metrics.sketches = setting.sketches
    runner = batching.Runner(
        setting.model,
        sharing=setting.sharing or batching.Sharing(is_proved=setting.signature.is_batched),
        costs=FixedCosts(setting.call_s) if setting.costs is None else setting.costs,
        observe_rows=metrics.batch_rows.observe,
    )
    sampler = RowSampler(setting.signature, RowReader(setting.signature, {}), setting.sketches)
    plane = dataplane.Dataplane(
        dataplane.Identity(
            name=setting.name,
            model=MODEL,
            revision=setting.revision,
            number=3,
            versions=frozenset({setting.revision, "3", "v2"}),
            engine="TensorFlow",
            digest=DIGEST,
            folder=setting.folder,
            evaluation=setting.evaluation,
            variant=setting.variant,
        ),
        setting.signature,
        executor=executor.Executor(runner, loop),
        admission=dataplane.Admission(
            ongoing_max=setting.ongoing_max, queued_max=setting.queued_max, timeout_s=setting.timeout_s
        ),
        metrics=metrics,
        sampler=sampler if setting.sketches else None,
    )
    if setting.guards is not None:
        plane.guards = setting.guards
        metrics.guarded = setting.guards.rows
    plane.is_traced = setting.record is not None
    plane.phase = dataplane.Phase.READY
    names = wiring.Names(namespace=setting.namespace, model=MODEL, revision=setting.revision)
    feedback = wiring.build(setting.signature, metrics.measured, names, secret=setting.secret)
    warm_up = setting.warm_up or answered_warm_up(setting.signature)
    loaded = LoadedModel(signature=setting.signature, predictor=setting.model, kind="stand-in")
    explainer = Explainer(loaded, shares_calls=setting.signature.is_batched)
    if setting.attributions is not None:
        plane.attributions = AttributionSampler(plane.explanations, compare(loaded, setting), metrics.explained)
        plane.attributions.follow({"explanations": {"samplesPerMinute": 60}})
    handler = Handler(plane, metrics, feedback, warm_up, explainer, body_bytes_max=setting.limits.body_bytes_max)

    def sign(candidate: str) -> str:
        return keys.copy_mark(setting.secret, namespace=setting.namespace, model=MODEL, candidate=candidate)

    payloads = PayloadLog(plane, setting.namespace, metrics.payloads, setting.open_sink)
    payloads.configure(setting.payloads)
    copies = mirror.Mirror(mirror.Settings(model=MODEL, timeout_s=setting.timeout_s, sign=sign), metrics.measured, loop)
    shared = Shared(
        handle=handler.handle,
        check_head=handler.check_head,
        limits=setting.limits,
        metrics=metrics,
        writer=writer.ResponseWriter(setting.revision),
        close=plane.close,
        on_answer=(payloads.offer, copies.offer),
        record=setting.record,
        finish=(payloads.close, copies.close),
    )
    return Parts(plane, metrics, handler, shared, sign, payloads)


def compare(loaded: LoadedModel, setting: Setting) -> Comparison:
    """The comparison of attributions with a reference that is known to fit the model."""
    statistics = ReferenceStatistics(
        model_digest=DIGEST, signature=setting.signature.name, features=(), attributions=setting.attributions
    )
    found = Found(outcome=evaluation_record.Outcome.READ, statistics=statistics)
    made = find_comparison(loaded, found, shares_calls=setting.signature.is_batched)
    assert isinstance(made, Comparison), made
    return made


def assemble_inline(setting: Setting | None = None) -> Parts:
    """A replica whose model answers at once: its loop is never used."""
    loop = asyncio.new_event_loop()
    loop.close()
    return assemble(loop, setting or Setting())


@dataclass
class Running:
    """A replica that listens."""

    server: ServerThread
    parts: Parts

    @property
    def port(self) -> int:
        return self.server.port

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=100)

    def send(self, raw: bytes) -> bytes:
        """The answers to the requests in `raw`; the connection may be kept after them."""
        with self.connect() as client:
            client.sendall(raw)
            return read_answers(client, raw.count(b" HTTP/1.1\r\n"))

    def send_and_end(self, raw: bytes) -> bytes:
        """What is answered to `raw` before the server sees that nothing more comes, and that the client is gone."""
        with self.connect() as client:
            client.sendall(raw)
            client.shutdown(socket.SHUT_WR)
            return read_all(client)


@contextmanager
def running(setting: Setting | None = None) -> Iterator[Running]:
    made: list[Parts] = []

    chosen = setting or Setting()

    def build(loop: asyncio.AbstractEventLoop) -> Shared:
        made.append(assemble(loop, chosen))
        return made[0].shared

    server = ServerThread(listener.bind_free_port("127.0.0.1"), build)
    server.start()
    joined = member.Member(chosen.node) if chosen.node is not None else None
    try:
        if joined is not None:
            joined.announce(
                entry.Replica(
                    name=chosen.name,
                    namespace=chosen.namespace,
                    model=MODEL,
                    revision=chosen.revision,
                    port=server.port,
                )
            )
        yield Running(server, made[0])
    finally:
        if joined is not None:
            joined.drain()
        server.drain(timeout_s=0)
        if joined is not None:
            joined.leave()


def read_all(client: socket.socket) -> bytes:
    chunks: list[bytes] = []
    try:
        while chunk := client.recv(65536):
            chunks.append(chunk)
    except (ConnectionResetError, TimeoutError):
        pass
    return b"".join(chunks)


def read_answers(client: socket.socket, count: int) -> bytes:
    """Until so many whole answers have come, or the server closes."""
    raw = b""
    while not _are_whole(raw, count):
        try:
            chunk = client.recv(65536)
        except (ConnectionResetError, TimeoutError):
            break
        if not chunk:
            break
        raw += chunk
    return raw


def _are_whole(raw: bytes, count: int) -> bool:
    answers = raw.split(b"HTTP/1.1 ")[1:]
    if len(answers) < count:
        return False
    head, end, body = answers[-1].partition(b"\r\n\r\n")
    # A client that announced its end reads until the server's.
    if not end or b"connection: close" in head:
        return False
    length = next(line for line in head.split(b"\r\n") if line.startswith(b"content-length: "))
    return len(body) >= int(length.removeprefix(b"content-length: "))


def request(method: str, path: str, body: object = None, headers: Mapping[bytes, bytes] | None = None) -> Request:
    raw = body if isinstance(body, bytes) else b"" if body is None else orjson.dumps(body)
    return Request(method=method, path=path, headers=headers or {}, body=raw, peer="127.0.0.1")


def post(path: str, body: object) -> bytes:
    """A whole HTTP/1.1 request that asks to close."""
    raw = body if isinstance(body, bytes) else orjson.dumps(body)
    head = f"POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {len(raw)}\r\n\r\n"
    return head.encode() + raw


def answer_of(handler: Handler, asked: Request) -> Response:
    """The answer of a handler whose model answers at once."""
    answer = handler.handle(asked)
    assert isinstance(answer, Response)
    return answer


def wait_until(condition: Callable[[], bool], *, within_s: float = 120) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, "the condition never came true"
        time.sleep(0.005)
