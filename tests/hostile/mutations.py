"""Hostile requests of four kinds, drawn from a generator: valid ones that were changed, and what smugglers send.

Each function makes the same request from the same state of its generator.
"""

from __future__ import annotations

import gzip
import json
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from tests.hostile.replica import MODEL, REVISION

from fairlead_runtime.protocols.grpc import v1_messages, v2_messages

V2, V1 = v2_messages.MESSAGES, v1_messages.MESSAGES
ROW = [0.5, 1.0, -2.0, 3.0]
TENSOR = {"name": "x", "datatype": "FP32", "shape": [1, 4], "data": ROW}
BY_V2 = {"id": "a", "inputs": [TENSOR], "outputs": [{"name": "y", "parameters": {"binary_data": False}}]}
BY_V1 = {"signature_name": "serving_default", "instances": [ROW]}
FEATURES = {"examples": [{"x": ROW}], "context": {"x": ROW}}
V2_PATHS = (
    f"/v2/models/{MODEL}/infer", f"/v2/models/{MODEL}/versions/1/infer", f"/v2/models/{MODEL}/explain",
    f"/v2/models/{MODEL}/feedback", f"/v2/models/{MODEL}/labels/stable/infer",
)  # fmt: skip
V1_PATHS = (f"/v1/models/{MODEL}:predict", f"/v1/models/{MODEL}/versions/1:predict")
EXAMPLE_PATHS = (f"/v1/models/{MODEL}:classify", f"/v1/models/{MODEL}:regress")
DATATYPES = (
    "FP32", "FP64", "FP16", "BF16", "INT8", "INT64", "UINT8", "UINT64", "BOOL", "BYTES", "fp32", "", "FP33",
)  # fmt: skip
NUMBERS = (
    0,
    -1,
    1,
    2**31 - 1,
    2**31,
    2**63,
    -(2**63) - 1,
    2**64,
    2**200,
    1e308,
    -0.0,
    5e-324,
    float("nan"),
    float("inf"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One request over HTTP: its method, path, headers and body."""

    method: str = "POST"
    path: str
    headers: dict[str, str]
    body: bytes


def draw_json(chosen: Random) -> Asked:
    """A request whose JSON was changed, or whose text was cut, damaged or compressed."""
    document, paths = chosen.choice(((BY_V2, V2_PATHS), (BY_V1, V1_PATHS), (FEATURES, EXAMPLE_PATHS)))
    for _ in range(chosen.randint(1, 4)):
        document = _change(chosen, document)
    text = _dump(document)
    if chosen.random() < 0.25:
        text = _damage(chosen, text)
    headers = {
        "content-type": chosen.choice(("application/json", "text/plain", "", "application/json; charset=latin-1"))
    }
    if chosen.random() < 0.1:
        headers["content-encoding"] = chosen.choice(("gzip", "deflate", "br", "gzip, gzip", "identity"))
        packed = gzip.compress(chosen.choice((text, b"[" * 100_000, b" " * 4_000_000)))
        text = chosen.choice((text, packed, packed[: len(packed) // 2], _damage(chosen, packed)))
    return Asked(path=chosen.choice(paths), headers=headers, body=text)


def draw_binary(chosen: Random) -> Asked:
    """A request with tensors as bytes, whose sizes, shapes or types contradict each other."""
    count = chosen.choice((1, 1, 1, 2, 3, 0, 2000))
    data = _tensor_bytes(chosen)
    size = chosen.choice((len(data), len(data), len(data) // 2, -1, 0, 2**31, 2**64, "4", None))
    tensor: dict[str, Any] = {
        "name": chosen.choice(("x", "x", "x", "y", "", "x" * 300)),
        "datatype": chosen.choice(("FP32", "FP32", *DATATYPES)),
        "shape": chosen.choice(
            ([1, 4], [1, 4], [len(data) // 16, 4], [2**31, 2**31], [0, 4], [-1, 4], [], [1] * 40, [4.0])
        ),
        "parameters": {"binary_data_size": size},
    }
    if chosen.random() < 0.1:
        tensor["data"] = ROW
    head = _dump(
        {"inputs": [tensor] * count, "parameters": {"binary_data_output": chosen.choice((True, False, 1, "yes"))}}
    )
    if chosen.random() < 0.15:
        head = _damage(chosen, head)
    length = str(
        chosen.choice((len(head), len(head), len(head), len(head) - 1, len(head) + 1, 0, -1, 2**63, "", "1e3", " 4"))
    )
    return Asked(
        path=chosen.choice(V2_PATHS),
        headers={"content-type": "application/octet-stream", "inference-header-content-length": length},
        body=head + data * max(1, min(count, 3)),
    )


def _tensor_bytes(chosen: Random) -> bytes:
    kind = chosen.randrange(4)
    if kind == 0:
        return struct.pack("<4f", *ROW) * chosen.choice((1, 1, 2, 100))
    if kind == 1:
        return chosen.randbytes(chosen.choice((0, 1, 3, 15, 16, 17, 400, 4000)))
    lengths = [chosen.choice((0, 1, 4, 2**31, 2**32 - 1)) for _ in range(chosen.randint(1, 20))]
    return b"".join(struct.pack("<I", each) + b"a" * min(each, 8) for each in lengths)


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One gRPC call: its method and the bytes of its message."""

    method: str
    message: bytes


def draw_call(chosen: Random) -> Call:
    """A gRPC call whose message was cut, damaged, lengthened, or is valid and contradicts itself."""
    method, make = chosen.choice(CALLS)
    message = make(chosen)
    if chosen.random() < 0.7:
        message = _damage(chosen, message)
    return Call(method=method, message=message)


def _infer(chosen: Random) -> bytes:
    request = V2["ModelInferRequest"](model_name=chosen.choice((MODEL, MODEL, MODEL, "cats", "")), id="a")
    for _ in range(chosen.choice((1, 1, 1, 0, 3, 1000))):
        shape = chosen.choice(([1, 4], [1, 4], [2**62, 4], [-1], [], [1] * 64))
        item = request.inputs.add(name="x", datatype=chosen.choice(("FP32", "FP32", *DATATYPES)), shape=shape)
        if chosen.random() < 0.5:
            item.contents.fp32_contents.extend(ROW * chosen.choice((1, 1, 0, 500)))
        if chosen.random() < 0.2:
            item.contents.bytes_contents.extend([b"a"] * chosen.choice((1, 1000)))
    for _ in range(chosen.choice((0, 1, 1, 2, 500))):
        request.raw_input_contents.append(_tensor_bytes(chosen))
    return bytes(request.SerializeToString())


def _predict(chosen: Random) -> bytes:
    request = V1["PredictRequest"]()
    request.model_spec.name = chosen.choice((MODEL, MODEL, "cats", ""))
    request.model_spec.signature_name = chosen.choice(("", "serving_default", "x" * 1000))
    tensor = request.inputs[chosen.choice(("x", "x", "", "y"))]
    tensor.dtype = chosen.choice((1, 1, 7, 23, 0, 101))
    for size in chosen.choice(((1, 4), (1, 4), (2**62, 2**62), (-1,), (0, 4))):
        tensor.tensor_shape.dim.add(size=size)
    tensor.float_val.extend(ROW * chosen.choice((1, 1, 0, 500)))
    if chosen.random() < 0.5:
        tensor.tensor_content = _tensor_bytes(chosen)
    return bytes(request.SerializeToString())


def _named(message: str) -> Callable[[Random], bytes]:
    def make(chosen: Random) -> bytes:
        request = V2[message](
            name=chosen.choice((MODEL, "cats", "", "x" * 5000)), version=chosen.choice(("", "1", "9"))
        )
        return bytes(request.SerializeToString())

    return make


def _random(chosen: Random) -> bytes:
    return chosen.randbytes(chosen.choice((0, 1, 5, 100, 5000)))


def _nested(chosen: Random) -> bytes:
    """Messages within messages, each the first field of the one before, as deep as some bytes allow."""
    inner = b""
    while len(inner) < chosen.choice((100, 4000)):
        size = len(inner)
        length = bytes([size]) if size < 128 else bytes([size & 127 | 128, size >> 7])
        inner = b"\x0a" + length + inner
    return inner


_V2_SERVICE, _V1_SERVICE = "/inference.GRPCInferenceService/", "/tensorflow.serving.PredictionService/"
CALLS: Sequence[tuple[str, Callable[[Random], bytes]]] = (
    (f"{_V2_SERVICE}ModelInfer", _infer),
    (f"{_V2_SERVICE}ModelInfer", _infer),
    (f"{_V2_SERVICE}ModelInfer", _random),
    (f"{_V2_SERVICE}ModelInfer", _nested),
    (f"{_V2_SERVICE}ModelReady", _named("ModelReadyRequest")),
    (f"{_V2_SERVICE}ModelMetadata", _named("ModelMetadataRequest")),
    (f"{_V2_SERVICE}NoSuchMethod", _random),
    (f"{_V1_SERVICE}Predict", _predict),
    (f"{_V1_SERVICE}Predict", _nested),
    (f"{_V1_SERVICE}Classify", _predict),
    (f"{_V1_SERVICE}Regress", _random),
    (f"{_V1_SERVICE}MultiInference", _nested),
    (f"{_V1_SERVICE}GetModelMetadata", _predict),
    ("/tensorflow.serving.ModelService/GetModelStatus", _predict),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """Bytes on one connection: a first request of disputed form, then a plain one that asks for the end.

    ``smuggled`` is the id of a request that stands within the first one's body, and must not be answered. Only where
    the body ``is_ended`` before it, by a chunk of no bytes, a server that counts in chunks takes it for the next one.
    """

    data: bytes
    first: str
    last: str
    smuggled: str
    is_ended: bool


def draw_stream(chosen: Random, number: int) -> Stream:
    """What smuggles requests past a proxy where it and the server disagree about the end of a message.

    Source: RFC 9112, sections 6.1, 6.3, 7.1 and 11.2; the forms of disagreement are those that are known for proxies.
    """
    first, last, smuggled = f"first-{number}", f"last-{number}", f"smuggled-{number}"
    inner = _plain(smuggled, chosen)
    ended = b"0\r\n\r\n" + inner
    chunked = b"%x\r\n" % len(inner) + inner + b"\r\n0\r\n\r\n"
    body = chosen.choice((inner, json.dumps(BY_V2).encode(), ended, chunked))
    lengths = chosen.choice(_LENGTHS)(len(body))
    # Where one of these is odd, too, most requests are refused for it, whatever their length.
    target = chosen.choice(_TARGETS) if chosen.random() < 0.2 else chosen.choice((V2_PATHS[0], V1_PATHS[0]))
    version = chosen.choice(_VERSIONS) if chosen.random() < 0.2 else "HTTP/1.1"
    method = chosen.choice(_METHODS) if chosen.random() < 0.2 else "POST"
    more = chosen.choice(_FIELDS)
    head = f"{method} {target} {version}\r\nhost: x\r\nx-request-id: {first}\r\n".encode("latin-1") + lengths + more
    data = head + b"\r\n" + body + _plain(last, chosen, is_last=True)
    is_ended = body is ended and b"chunked" in lengths
    return Stream(data=data, first=first, last=last, smuggled=smuggled, is_ended=is_ended)


def _plain(request_id: str, chosen: Random, *, is_last: bool = False) -> bytes:
    body = json.dumps(BY_V2).encode()
    end = b"connection: close\r\n" if is_last else b""
    path = chosen.choice((V2_PATHS[0], V1_PATHS[0])).encode()
    return b"POST %s HTTP/1.1\r\nhost: x\r\nx-request-id: %s\r\n%scontent-length: %d\r\n\r\n%s" % (
        path, request_id.encode(), end, len(body), body,
    )  # fmt: skip


_TARGETS = ("/v2", f"http://other{V2_PATHS[0]}", "/v2/models/../../x", "*", "/%00", "/v2/models/%64igits/infer", "//")
_VERSIONS = ("HTTP/1.0", "HTTP/0.9", "HTTP/1.1 ", "HTTP/3.0", "http/1.1", "HTTP/1.1\x00", "")
_METHODS = ("GET", "HEAD", "POST ", "PO ST", "\x00", "CONNECT", "TRACE", "PRI", "post")
_LENGTHS: Sequence[Callable[[int], bytes]] = (
    lambda size: b"content-length: %d\r\n" % size,
    lambda size: b"content-length: %d\r\ncontent-length: %d\r\n" % (size, size),
    lambda size: b"content-length: %d\r\ncontent-length: 0\r\n" % size,
    lambda size: b"content-length: %d, %d\r\n" % (size, size),
    lambda size: b"content-length: +%d\r\n" % size,
    lambda size: b"content-length: 0x%x\r\n" % size,
    lambda size: b"content-length: -1\r\n",
    lambda size: b"content-length : %d\r\n" % size,
    lambda size: b"content-length:\r\n %d\r\n" % size,
    lambda size: b"content-length: %d\r\ntransfer-encoding: chunked\r\n" % size,
    lambda size: b"transfer-encoding: chunked\r\ncontent-length: %d\r\n" % size,
    lambda size: b"transfer-encoding: chunked\r\n",
    lambda size: b"transfer-encoding: chunked, identity\r\n",
    lambda size: b"transfer-encoding: identity, chunked\r\n",
    lambda size: b"transfer-encoding: xchunked\r\ncontent-length: %d\r\n" % size,
    lambda size: b"transfer-encoding:\x0bchunked\r\ncontent-length: %d\r\n" % size,
    lambda size: b"transfer-encoding : chunked\r\ncontent-length: %d\r\n" % size,
    lambda size: b"transfer-encoding: chunked\r\ntransfer-encoding: x\r\ncontent-length: %d\r\n" % size,
    lambda size: b'transfer-encoding: "chunked"\r\ncontent-length: %d\r\n' % size,
    lambda size: b"Transfer-Encoding\r\n : chunked\r\ncontent-length: %d\r\n" % size,
    lambda size: b"x: y\ntransfer-encoding: chunked\r\ncontent-length: %d\r\n" % size,
    lambda size: b"x: y\rtransfer-encoding: chunked\r\ncontent-length: %d\r\n" % size,
)
_FIELDS = (
    b"",
    b"",
    b"expect: 100-continue\r\n",
    b"upgrade: h2c\r\nconnection: upgrade\r\n",
    b"connection: content-length\r\n",
    b"connection: transfer-encoding\r\n",
    b"x-fairlead-held: 1\r\n",
    b"x-fairlead-shadow: 127.0.0.1:1/bbbbbbbbbb\r\n",
    b"x-fairlead-shadow-copy: x\r\nx-fairlead-revision: %s\r\n" % REVISION.encode(),
    b"trailer: x-request-id\r\n",
    b"x: \x00\r\n",
    b"x" * 9000 + b": y\r\n",
    b"x: " + b"y" * 40_000 + b"\r\n",
    b": empty\r\n",
    b"\xff: y\r\n",
)


def _change(chosen: Random, document: Any) -> Any:
    """A copy in which one part, anywhere, has another value, is gone, or stands there many times."""
    if isinstance(document, dict) and document and chosen.random() < 0.8:
        name = chosen.choice(list(document))
        changed = dict(document)
        if chosen.random() < 0.1:
            del changed[name]
        elif chosen.random() < 0.1:
            changed[chosen.choice(("x", "", "é", name + "x"))] = changed.pop(name)
        else:
            changed[name] = _change(chosen, document[name])
        return changed
    if isinstance(document, list) and document and chosen.random() < 0.8:
        at, items = chosen.randrange(len(document)), list(document)
        if chosen.random() < 0.2:
            return items * chosen.choice((0, 2, 50))
        items[at] = _change(chosen, document[at])
        return items
    return _odd(chosen)


def _odd(chosen: Random) -> Any:
    kind = chosen.randrange(8)
    if kind == 0:
        return chosen.choice(NUMBERS)
    if kind == 1:
        return chosen.choice(
            (None, True, False, "", "x", "\ud800", "é" * 50, "NaN", {"b64": "AA=="}, {"b64": "?"}, {"b64": 1})
        )
    if kind == 2:
        value: Any = chosen.choice((1.0, [], {}, "a"))
        for _ in range(chosen.choice((1, 3, 31, 33, 200))):
            value = [value]
        return value
    if kind == 3:
        return [chosen.choice((0, 1.5, True, None, "a", [1]))] * chosen.choice((0, 1, 4, 2000))
    if kind == 4:
        return {str(number): number for number in range(chosen.choice((0, 1, 500)))}
    if kind == 5:
        return "x" * chosen.choice((1, 200, 20_000))
    return chosen.choice((DATATYPES[chosen.randrange(len(DATATYPES))], [[1, 2], [3]], [ROW, ROW[:3]], [[ROW]], -1))


def _dump(document: Any) -> bytes:
    """At most what the gateway lets through, and a little more."""
    return json.dumps(document).encode()[: 80 * 1024]


def _damage(chosen: Random, data: bytes) -> bytes:
    kind = chosen.randrange(6)
    at = chosen.randrange(len(data) + 1)
    if kind == 0:
        return data[:at]
    if kind == 1:
        return data[:at] + chosen.randbytes(chosen.choice((1, 2, 8))) + data[at:]
    if kind == 2 and data:
        at = min(at, len(data) - 1)
        return data[:at] + bytes([data[at] ^ 1 << chosen.randrange(8)]) + data[at + 1 :]
    if kind == 3:
        return data + data
    if kind == 4:
        return data[:at] + b"\xff" * 10 + data[at:]
    return chosen.choice((b"\xef\xbb\xbf", b"\x00", b" " * 5000, b"{", b"[" * 5000)) + data
