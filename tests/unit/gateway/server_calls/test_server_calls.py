"""What the agent answers by itself, without HAProxy: the index of models, reflection, and what is no message."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from google.protobuf import descriptor_pb2
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support import nightly, reflected_services

from fairlead_gateway import report
from fairlead_gateway.haproxy import config
from fairlead_gateway.server_calls import descriptors, exchange, messages, reflection, repository, server
from fairlead_runtime.protocols.grpc import schema

OWN = schema.build("inference", reflected_services.OF_THE_GATEWAY)
REFLECTION = schema.build("grpc.reflection.v1alpha", reflected_services.REFLECTION)
INDEX_CALL = "/rpc/server/inference.GRPCInferenceService/RepositoryIndex"
READY = repository.Entry(name="digits", version="3", state="READY", reason="")
AWAY = repository.Entry(name="cats", version="1", state="UNAVAILABLE", reason="no replica is ready")
STREAM = "/rpc/server/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"


def make_server(entries: Sequence[repository.Entry] | None = (READY, AWAY)) -> server.ServerCalls:
    index = repository.Index(entries) if entries is not None else None

    async def list_models() -> repository.Index | None:
        return index

    return server.ServerCalls(is_ready=lambda: True, list_models=list_models, version="1.2.3")


def framed(message: bytes) -> bytes:
    return b"\0" + len(message).to_bytes(4, "big") + message


async def ask(path: str, body: bytes, *, method: str = "POST", calls: server.ServerCalls | None = None) -> Any:
    answer = await (calls or make_server()).answer(method, path, body)
    return answer.partition(b"\r\n\r\n")[2]


@pytest.mark.parametrize(
    ("body", "names"),
    [(b"", ["digits", "cats"]), (b'{"ready": false}', ["digits", "cats"]), (b'{"ready": true}', ["digits"])],
)
async def test_the_index_lists_models_or_those_that_are_ready(body: bytes, names: list[str]) -> None:
    found = json.loads(await ask(server.INDEX_PATH, body))
    assert [each["name"] for each in found] == names
    assert found[0] == {"name": "digits", "version": "3", "state": "READY", "reason": ""}
    message = OWN["RepositoryIndexRequest"](ready=b"true" in body).SerializeToString()
    answer = await ask(INDEX_CALL, framed(message))
    size, _, rest = answer.partition(b"\r\n")
    by_grpc = OWN["RepositoryIndexResponse"].FromString(rest[5 : int(size, 16)]).models
    assert [{field: getattr(each, field) for field in found[0]} for each in by_grpc] == found


def test_an_answer_is_made_once_for_each_state_of_the_gateway() -> None:
    index = repository.Index((READY, AWAY))
    for render in (index.to_json, index.to_message):
        assert render(only_ready=False) is render(only_ready=False) != render(only_ready=True)
    table: Any = SimpleNamespace(routes={})
    read: Any = [SimpleNamespace(observed=SimpleNamespace(servers={}), places={}) for _ in range(2)]
    reported = report.RepositoryIndex()
    first = reported.find(table, read[0])
    assert reported.find(table, read[0]) is first
    assert reported.find(table, read[1]) is not first


@pytest.mark.parametrize(
    ("path", "body", "status", "words"),
    [
        (server.INDEX_PATH, b"{", 400, "the body is not JSON"),
        (server.INDEX_PATH, b"[]", 400, "the body must be a JSON object"),
        (server.INDEX_PATH, b'{"ready": 1}', 400, "ready must be true or false"),
        (server.INDEX_PATH, b'{"name": "x"}', 400, "'name' is not a field"),
        (INDEX_CALL, b"", 400, "exactly one whole message"),
        (INDEX_CALL, framed(b"\xff"), 400, "can't be read as RepositoryIndexRequest"),
        (INDEX_CALL, framed(messages.text(1, "x")), 404, "repository_name: there is one repository"),
        (INDEX_CALL, b"\1\0\0\0\0", 501, "compressed messages are not supported"),
        ("/rpc/server/grpc.health.v1.Health/Check", framed(b"\x0a\x02a"), 404, "no such service"),
        ("/rpc/server/x/Y", framed(b""), 501, "is not implemented"),
    ],
)
async def test_what_cannot_be_answered_is_refused_with_the_field(
    path: str, body: bytes, status: int, words: str
) -> None:
    with pytest.raises(exchange.RefusedError) as refused:
        await ask(path, body)
    assert refused.value.status == status
    assert words in refused.value.sentence


async def test_a_request_without_a_body_is_not_waited_for() -> None:
    assert await exchange.read_body(asyncio.StreamReader(), b"GET / HTTP/1.1\r\nhost: a\r\n\r\n") == b""


async def test_without_routes_or_by_another_method_there_is_no_index() -> None:
    with pytest.raises(exchange.RefusedError) as refused:
        await ask(server.INDEX_PATH, b"", calls=make_server(None))
    assert refused.value.status == 503
    with pytest.raises(exchange.RefusedError) as refused:
        await ask(server.INDEX_PATH, b"", method="GET")
    assert (refused.value.status, refused.value.allow) == (405, "POST")


def reflected(**asked: Any) -> Any:
    request = REFLECTION["ServerReflectionRequest"](host="here", **asked)
    answer = REFLECTION["ServerReflectionResponse"].FromString(reflection.answer(request.SerializeToString()))
    assert (answer.valid_host, answer.original_request) == ("here", request)
    return answer


def test_reflection_lists_services_and_finds_files_by_name_and_symbol() -> None:
    listed = [each.name for each in reflected(list_services="*").list_services_response.service]
    assert listed == sorted(listed)
    assert {"inference.GRPCInferenceService", "grpc.health.v1.Health", "tensorflow.serving.ModelService"} < set(listed)
    names = set()
    for service in (*listed, "inference.ModelInferRequest", "tensorflow.serving.PredictRequest.InputsEntry"):
        (raw,) = reflected(file_containing_symbol=service).file_descriptor_response.file_descriptor_proto
        file = descriptor_pb2.FileDescriptorProto.FromString(raw)
        assert service.startswith(f"{file.package}.")
        assert list(reflected(file_by_filename=file.name).file_descriptor_response.file_descriptor_proto) == [raw]
        names.add(file.name)
    assert names == set(descriptors.catalogue().files)
    found = reflected(all_extension_numbers_of_type="inference.ModelInferRequest").all_extension_numbers_response
    assert (found.base_type_name, list(found.extension_number)) == ("inference.ModelInferRequest", [])


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        ({"file_by_filename": "x.proto"}, 5),
        ({"file_containing_symbol": "cats"}, 5),
        ({"file_containing_extension": {"containing_type": "x"}}, 5),
        ({"all_extension_numbers_of_type": "x"}, 5),
        ({}, 3),
    ],
)
def test_reflection_answers_what_it_does_not_know_with_an_error(asked: dict[str, Any], code: int) -> None:
    assert reflected(**asked).error_response.error_code == code


CHUNKED = b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n"


class Writer:
    """Keeps what is written; a client that does not read is waited for without end."""

    def __init__(self, *, is_read: bool = True) -> None:
        self.written = bytearray()
        self._is_read = is_read

    def write(self, data: bytes) -> None:
        self.written.extend(data)

    async def drain(self) -> None:
        if not self._is_read:
            await asyncio.Event().wait()


def in_chunks(body: bytes, piece: int = 7) -> bytes:
    chunks = (body[at : at + piece] for at in range(0, len(body), piece))
    return b"".join(b"%x\r\n%s\r\n" % (len(each), each) for each in chunks)


async def stream(
    sent: bytes,
    *,
    head: bytes = CHUNKED,
    is_ended: bool = True,
    is_read: bool = True,
    streams: reflection.Streams | None = None,
) -> bytes:
    """The whole answer to a stream."""
    reader, writer = asyncio.StreamReader(), Writer(is_read=is_read)
    reader.feed_data(sent)
    if is_ended:
        reader.feed_eof()
    await (streams or reflection.Streams()).answer(reader, writer, head)  # type: ignore[arg-type]
    return bytes(writer.written)


ONE = framed(REFLECTION["ServerReflectionRequest"](list_services="*").SerializeToString())


@pytest.mark.parametrize(
    ("body", "answers", "status"),
    [
        (b"", 0, b"0"),
        (ONE * 3, 3, b"0"),
        (ONE + ONE[:4], 1, b"3"),
        (ONE + framed(b"\xff"), 1, b"3"),
        (ONE + b"\1" + ONE[1:], 1, b"12"),
        (ONE + framed(b"x" * 5000), 1, b"8"),
        (b"\0\xff\xff\xff\xff", 0, b"8"),
        (ONE * (reflection.REQUESTS_MAX + 1), reflection.REQUESTS_MAX, b"8"),
    ],
)
async def test_a_stream_ends_with_a_status_and_is_bounded(body: bytes, answers: int, status: bytes) -> None:
    answer = await stream(in_chunks(body) + b"0\r\n\r\n")
    assert answer.count(b"grpc.health.v1.Health") == answers
    assert b"\r\ngrpc-status: %s\r\n" % status in answer
    assert answer.endswith(b"\r\n\r\n")


async def test_a_stream_with_a_length_is_read_to_its_end() -> None:
    body = ONE * 1000
    assert len(body) > exchange.BODY_BYTES_MAX
    answer = await stream(body, head=b"POST / HTTP/1.1\r\ncontent-length: %d\r\n\r\n" % len(body))
    assert answer.count(b"grpc.health.v1.Health") == 1000
    assert answer.endswith(b"\r\ngrpc-status: 0\r\n\r\n")


@pytest.mark.parametrize("is_read", [True, False])
async def test_a_stream_that_does_not_end_is_ended(is_read: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reflection, "STREAM_S", 0.5)
    answer = await stream(in_chunks(ONE), is_ended=False, is_read=is_read)
    assert answer.count(b"grpc.health.v1.Health") == 1
    assert b"\r\ngrpc-status: 4\r\n" in answer


async def test_only_so_many_streams_are_answered_at_a_time() -> None:
    streams = reflection.Streams()
    begun = [asyncio.create_task(stream(b"", is_ended=False, streams=streams)) for _ in range(reflection.STREAMS_MAX)]
    await asyncio.sleep(0)
    whole = in_chunks(ONE) + b"0\r\n\r\n"
    assert b"\r\ngrpc-status: 8\r\n" in await stream(whole, streams=streams)
    begun[0].cancel()
    await asyncio.wait(begun[:1])
    assert b"\r\ngrpc-status: 0\r\n" in await stream(whole, streams=streams)
    for task in begun[1:]:
        task.cancel()
    await asyncio.wait(begun)


@pytest.mark.parametrize("target", ["/v2/repository/index?ready=true", "http://a.org:80/v2/repository/index?x"])
async def test_a_query_or_a_whole_address_is_no_other_path(target: str, tmp_path: Path) -> None:
    listening = await make_server().serve(tmp_path)
    try:
        reader, writer = await asyncio.open_unix_connection(tmp_path / config.SERVER_CALLS_SOCKET)
        writer.write(f"POST {target} HTTP/1.1\r\ncontent-length: 2\r\n\r\n{{}}".encode())
        answer = await reader.read()
        writer.close()
    finally:
        listening.close()
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert len(json.loads(answer.partition(b"\r\n\r\n")[2])) == 2


@settings(max_examples=nightly.examples(300), deadline=None)
@given(st.one_of(st.binary(max_size=60), st.builds(lambda rest: ONE[5:] + rest, st.binary(max_size=20))))
def test_any_bytes_are_answered_or_refused(message: bytes) -> None:
    async def ask_all() -> tuple[list[int], bytes]:
        refusals = []
        for path in (INDEX_CALL, "/rpc/server/grpc.health.v1.Health/Check"):
            try:
                await ask(path, framed(message))
            except exchange.RefusedError as refused:
                refusals.append(refused.status)
        return refusals, await stream(in_chunks(framed(message)) + b"0\r\n\r\n")

    refusals, streamed = asyncio.run(ask_all())
    assert set(refusals) <= {400, 404}
    assert b"grpc-status: " in streamed
