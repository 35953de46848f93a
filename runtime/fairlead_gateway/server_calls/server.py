"""Answers what concerns the gateway itself: is it live, is it ready, what is it, which models it has.

HAProxy hands the requests on by HTTP/1.1: calls under `/rpc/server`, the index of the repository under its own path.
Source: https://github.com/grpc/grpc/blob/master/doc/health-checking.md
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from pathlib import Path

from fairlead_gateway.haproxy import config
from fairlead_gateway.server_calls import exchange, messages, reflection, repository
from fairlead_gateway.server_calls.exchange import RefusedError

HEAD_BYTES_MAX = 64 * 1024
SERVING, NOT_SERVING = 1, 2
EXTENSIONS = ("binary_tensor_data", "model_configuration", "statistics")
"""Of Triton's. The index alone is not its repository extension, which loads and unloads models as well."""

SERVICES = frozenset(
    {"", "inference.GRPCInferenceService", "tensorflow.serving.PredictionService", "tensorflow.serving.ModelService"}
)
"""What the health of the whole gateway stands for."""

INDEX_PATH = "/v2/repository/index"
_PREFIX = "/rpc/server"


class ServerCalls:
    """Serves on a socket in the gateway's folder, one connection for each of HAProxy's requests.

    `list_models` is None while the gateway has not applied its routes.
    """

    def __init__(
        self,
        *,
        is_ready: Callable[[], bool],
        list_models: Callable[[], Awaitable[repository.Index | None]],
        version: str,
    ) -> None:
        self._is_ready = is_ready
        self._list_models = list_models
        self._version = version
        self._streams = reflection.Streams()

    async def serve(self, state_dir: Path) -> asyncio.AbstractServer:
        """Begin to listen; the caller closes the server."""
        path = state_dir / config.SERVER_CALLS_SOCKET
        path.unlink(missing_ok=True)
        return await asyncio.start_unix_server(self._answer_all, path, limit=HEAD_BYTES_MAX)

    async def _answer_all(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError, ValueError):
            head = await reader.readuntil(b"\r\n\r\n")
            method, target = head.decode("latin-1").split(" ", 2)[:2]
            path = exchange.path_of(target)
            if path.removeprefix(_PREFIX) in reflection.PATHS:
                await self._streams.answer(reader, writer, head)
            else:
                writer.write(await self._answer(reader, head, method, path))
                await writer.drain()
        writer.close()

    async def _answer(self, reader: asyncio.StreamReader, head: bytes, method: str, path: str) -> bytes:
        try:
            return await self.answer(method, path, await exchange.read_body(reader, head))
        except RefusedError as refused:
            return exchange.refusal(refused)

    async def answer(self, method: str, path: str, body: bytes) -> bytes:
        """The whole HTTP answer to a request; raises RefusedError."""
        if path == INDEX_PATH:
            if method != "POST":
                raise RefusedError(405, "repository/index: only POST is allowed", allow="POST")
            only_ready = repository.read_request(body)
            return exchange.encoded_answer((await self._find_models()).to_json(only_ready=only_ready))
        return exchange.call_answer(await self._answer_call(path.removeprefix(_PREFIX), exchange.read_message(body)))

    async def _answer_call(self, path: str, message: bytes) -> bytes:
        match path:
            case "/inference.GRPCInferenceService/ServerLive":
                return messages.whole(1, 1)
            case "/inference.GRPCInferenceService/ServerReady":
                return messages.whole(1, self._is_ready())
            case "/inference.GRPCInferenceService/ServerMetadata":
                names = (messages.text(3, extension) for extension in EXTENSIONS)
                return messages.text(1, "fairlead-gateway") + messages.text(2, self._version) + b"".join(names)
            case "/inference.GRPCInferenceService/RepositoryIndex":
                only_ready = repository.read_message(message)
                return (await self._find_models()).to_message(only_ready=only_ready)
            case "/grpc.health.v1.Health/Check":
                if _read_service(message) not in SERVICES:
                    raise RefusedError(404, "the gateway has no such service; ask a model by ModelReady")
                return messages.whole(1, SERVING if self._is_ready() else NOT_SERVING)
            case _:
                raise RefusedError(501, "the method is not implemented")

    async def _find_models(self) -> repository.Index:
        index = await self._list_models()
        if index is None:
            raise RefusedError(503, "the gateway has not applied its routes yet")
        return index


def _read_service(message: bytes) -> str | None:
    """The one field of a HealthCheckRequest; None for anything else."""
    try:
        fields = list(messages.read_fields(message))
    except ValueError:
        return None
    match fields:
        case []:
            return ""
        case [(1, bytes(service))]:
            return service.decode("utf-8", "replace")
        case _:
            return None
