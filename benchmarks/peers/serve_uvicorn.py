"""The ceiling of Python's HTTP servers: uvicorn with a raw ASGI callable, and nothing else."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from benchmarks.peers import peer

PEER = peer.Peer(title="bare uvicorn", requirements="uvicorn.txt", encodings=(peer.JSON, peer.BINARY))


def serve(asked: peer.Asked) -> None:
    """Serves until the process is ended."""
    import uvicorn

    options: dict[str, Any] = {"loop": "uvloop", "http": "httptools", "access_log": False, "log_level": "error"}
    uvicorn.run(_application(asked), host="127.0.0.1", port=asked.http_port, lifespan="off", **options)


def _application(asked: peer.Asked) -> Callable[..., Awaitable[None]]:
    import orjson
    from benchmarks.peers import wire
    from benchmarks.peers.fast_call import FastCall

    call = FastCall(asked.saved_model)

    async def answer(scope: Any, receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        headers = [(b"content-type", b"application/json")]
        length = next((value for name, value in scope["headers"] if name == wire.HEADER_LENGTH.encode()), None)
        if length is None:
            text = wire.write_json(call, asked.model, call(wire.read_tensor(call, orjson.loads(body))))
        else:
            rows = wire.read_binary(call, body, int(length))
            text, head_length = wire.write_binary(call, asked.model, call(rows))
            headers = [
                (b"content-type", b"application/octet-stream"),
                (wire.HEADER_LENGTH.encode(), str(head_length).encode()),
            ]
        headers.append((b"content-length", str(len(text)).encode()))
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": text})

    return answer
