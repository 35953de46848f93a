"""Compressed requests: unpacked within a bound, or refused with the reason."""

from __future__ import annotations

import gzip
import zlib

import orjson
import pytest
from tests.support.replica_parts import MODEL, Setting, answer_of, assemble_inline, post, request, running

from fairlead_runtime.protocols import encoding
from fairlead_runtime.protocols.http import Response
from fairlead_runtime.server.limits import ServerLimits

INFER = f"/v2/models/{MODEL}/infer"
BODY = orjson.dumps({"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3, 4]}]})
BYTES_MAX = 4096


def pack(body: bytes) -> bytes:
    """The same bytes at any time."""
    return gzip.compress(body, mtime=0)


def raw_deflate(body: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(body) + packer.flush()


def answer(body: bytes, coding: bytes) -> Response:
    parts = assemble_inline(Setting(limits=ServerLimits(body_bytes_max=BYTES_MAX)))
    return answer_of(parts.handler, request("POST", INFER, body, {b"content-encoding": coding}))


@pytest.mark.parametrize(
    ("coding", "body"),
    [
        (b"gzip", pack(BODY)),
        (b"GZIP", pack(BODY)),
        (b"x-gzip", pack(BODY)),
        (b"deflate", zlib.compress(BODY)),
        (b"deflate", raw_deflate(BODY)),
        (b"identity", BODY),
    ],
)
def test_a_compressed_request_is_answered(coding: bytes, body: bytes) -> None:
    response = answer(body, coding)
    assert response.status == 200, response.body
    assert orjson.loads(response.body)["outputs"][0]["data"] == [2, 4, 6, 8]


@pytest.mark.parametrize(
    ("coding", "body", "status", "words"),
    [
        (b"br", BODY, 415, "content-encoding 'br' is not supported: send gzip, deflate or identity"),
        (b"gzip, gzip", pack(pack(BODY)), 415, "'gzip, gzip' is not supported"),
        (b"gzip", BODY, 400, "the body is not what its content-encoding says"),
        (b"deflate", b"", 400, "exactly one whole compressed stream"),
        (b"gzip", pack(BODY)[:-1], 400, "exactly one whole compressed stream"),
        (b"gzip", pack(BODY) + b"x", 400, "exactly one whole compressed stream"),
        (
            b"gzip",
            pack(b" " * (BYTES_MAX + 1)),
            413,
            "larger than the limit of 4096 bytes once it is unpacked",
        ),
        (b"gzip", pack(b" " * 1_000_000), 413, "once it is unpacked"),
    ],
)
def test_what_cannot_be_unpacked_is_refused(coding: bytes, body: bytes, status: int, words: str) -> None:
    response = answer(body, coding)
    assert response.status == status
    assert words in orjson.loads(response.body)["error"]
    assert (b"accept-encoding" in dict(response.headers)) == (status == 415)


def test_a_large_compressed_request_is_unpacked_and_answered_by_the_server() -> None:
    rows = 20_000
    inputs = [{"name": "x", "shape": [rows, 4], "datatype": "FP32", "data": [1.0] * 4 * rows}]
    packed = gzip.compress(orjson.dumps({"inputs": inputs}))
    with running(Setting(limits=ServerLimits(body_bytes_max=1 << 20))) as replica:
        sent = post(INFER, packed).replace(b"host: x", b"host: x\r\ncontent-encoding: gzip")
        head, _, body = replica.send(sent).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200")
    assert orjson.loads(body)["outputs"][0]["data"] == [2.0] * 4 * rows


@pytest.mark.parametrize(
    ("accepted", "is_packed"),
    [
        (None, False),
        (b"", False),
        (b"gzip", True),
        (b"x-gzip", True),
        (b"deflate, GZIP;q=0.5", True),
        (b"gzip, deflate, br, zstd", True),
        (b"*", True),
        (b"identity", False),
        (b"deflate", False),
        (b"gzip;q=0", False),
        (b"gzip; q=0.000, *", False),
        (b"*;q=0", False),
        (b"gzip;q=0;x=1", False),
        (b"gzip;x=1;q=0", False),
        (b"gzip;q=0.1;q=0", True),
        (b"gzip" + b" " * 256, False),
        (b";;,=,q=0", False),
    ],
)
def test_what_a_client_accepts_decides(accepted: bytes | None, is_packed: bool) -> None:
    assert encoding.accepts_gzip({} if accepted is None else {b"accept-encoding": accepted}) is is_packed


def test_only_json_within_the_bounds_is_compressed() -> None:
    def packed(size: int, **changed: bytes) -> bytes | None:
        response = Response(status=200, body=b"1" * size, **changed)
        encoding.pack(response)
        return response.packed

    sizes = encoding.PACKED_BYTES
    found = packed(sizes.start)
    assert found is not None
    assert gzip.decompress(found) == b"1" * sizes.start
    assert packed(sizes.start - 1) is packed(sizes.stop) is None
    assert packed(sizes.start, content_type=b"application/octet-stream") is None


@pytest.mark.parametrize("path", [INFER, f"/v1/models/{MODEL}:predict"])
@pytest.mark.parametrize(("rows", "is_packed"), [(20_000, True), (1, False)])
def test_a_large_answer_is_compressed_for_a_client_that_takes_it(path: str, rows: int, is_packed: bool) -> None:
    row = [1.0, 2.0, 3.0, 4.0]
    v2 = {"inputs": [{"name": "x", "shape": [rows, 4], "datatype": "FP32", "data": row * rows}]}
    asked = v2 if path == INFER else {"instances": [row] * rows}
    with running(Setting(limits=ServerLimits(body_bytes_max=1 << 20))) as replica:
        plain = replica.send(post(path, asked))
        packed = replica.send(post(path, asked).replace(b"host: x", b"host: x\r\naccept-encoding: gzip"))
    expected = plain.partition(b"\r\n\r\n")[2]
    head, _, body = packed.partition(b"\r\n\r\n")
    assert (b"\r\ncontent-encoding: gzip\r\nvary: accept-encoding\r\n" in head) is is_packed
    assert b"\r\ncontent-length: %d\r\n" % len(body) in head
    assert (gzip.decompress(body) if is_packed else body) == expected
    assert b"content-encoding" not in plain.partition(b"\r\n\r\n")[0]
