"""The client that turns words into ids, against a server that checks what it is sent."""

from __future__ import annotations

import contextlib
import http.server
import json
import pathlib
import threading
from collections.abc import Iterator

import pytest
from examples import sentiment_client, vocabulary


class _Model(http.server.BaseHTTPRequestHandler):
    """A stand-in for the LSTM: positive when the last word is ``good`` (id 2)."""

    def do_GET(self) -> None:
        self._answer(200, {"inputs": [{"name": "tokens", "datatype": "INT32", "shape": [-1, 4]}]})

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))["inputs"][0]
        if self.path != "/v2/models/lstm/infer" or (asked["name"], asked["datatype"]) != ("tokens", "INT32"):
            self._answer(400, {"error": "not what the metadata said"})
            return
        rows, columns = asked["shape"]
        last = [asked["data"][row * columns + columns - 1] for row in range(rows)]
        data = [0.9 if number == 2 else 0.1 for number in last]
        self._answer(200, {"outputs": [{"name": "positive", "shape": [rows, 1], "datatype": "FP32", "data": data}]})

    def _answer(self, status: int, content: object) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Quiet."""


@contextlib.contextmanager
def _model() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Model)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_texts_are_scored_in_their_order(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    vocabulary.Vocabulary(words=("<pad>", "<unknown>", "good", "bad")).save(tmp_path / "vocabulary.txt")
    with _model() as url:
        code = sentiment_client.main(
            ["--url", url, "--vocabulary", str(tmp_path / "vocabulary.txt"), "The film was bad", "Very good"]
        )

    assert code == 0
    assert capsys.readouterr().out.splitlines() == ["negative  0.100  The film was bad", "positive  0.900  Very good"]


def test_a_refusal_is_told_in_the_servers_own_words(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    vocabulary.Vocabulary(words=("<pad>", "<unknown>")).save(tmp_path / "vocabulary.txt")
    with _model() as url:
        arguments = ["--url", url, "--model", "other", "--vocabulary", str(tmp_path / "vocabulary.txt"), "text"]
        assert sentiment_client.main(arguments) == 1

    assert "400" in (output := capsys.readouterr().err)
    assert "not what the metadata said" in output
