"""`kubectl fairlead explain`: what it sends, the heat map and the page of words that it makes of an answer."""

from __future__ import annotations

import html.parser
import json
import pathlib
import re
from collections.abc import Iterator
from typing import Any

import pytest
import typer.testing
from aiohttp import web
from tests.support import png_pixels
from tests.support.http_thread import HttpThread
from tests.support.plugin_cluster import WorldCluster
from tests.support.virtual_world import VirtualWorld

from fairlead_cli.plugin import cluster, commands, errors
from fairlead_cli.plugin.explaining import explain, heat_map, word_weights

NAME = "digits"
BASELINE = [0.0] * 4


def tensor(name: str, datatype: str, shape: list[int], data: list[Any]) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": shape, "data": data}


def answer_of(attributions: dict[str, Any], *more: dict[str, Any], rows: int = 1) -> dict[str, Any]:
    scores = [tensor("target", "INT64", [rows], [3] * rows), tensor("score", "FP64", [rows], [0.75] * rows)]
    parameters = {"method": "occlusion", "output": "probabilities", "steps": 32}
    return {"model_name": NAME, "parameters": parameters, "outputs": [attributions, *scores, *more]}


def image(shape: list[int], data: list[Any], weights: list[float]) -> explain.Explained:
    answer = answer_of(tensor("attributions", "FP32", shape, weights), rows=shape[0])
    datatype = "BYTES" if isinstance(data[0], str) else "FP32"
    return explain.read({"inputs": [tensor("pixels", datatype, shape, data)]}, answer)


def decode(png: bytes) -> list[list[tuple[int, ...]]]:
    return [[tuple(pixel) for pixel in line] for line in png_pixels.decode(png).tolist()]


def test_a_heat_map_has_the_image_on_the_left_and_its_weights_on_the_right() -> None:
    pixels = decode(heat_map.draw(image([1, 2, 2], [0, 10, 5, 0], [0.0, 2.0, -2.0, 0.5])))
    scale = heat_map.SIDE_MIN // 2
    assert (len(pixels), len(pixels[0])) == (2 * scale, 4 * scale + heat_map.GAP)
    right = 2 * scale + heat_map.GAP
    assert [pixels[0][0], pixels[0][scale], pixels[scale][0]] == [(0, 0, 0), (255, 255, 255), (128, 128, 128)]
    assert pixels[0][right] == (255, 255, 255), "no weight, and no image under it"
    assert pixels[0][right + scale] == (214, 39, 40), "the strongest for the class"
    assert pixels[scale][right] == (31, 119, 180), "the strongest against it"
    red, green, blue = pixels[scale][right + scale]
    assert red > green == blue > 39, "a quarter of the strongest"


@pytest.mark.parametrize(
    "shape",
    [
        pytest.param([1, 2, 2, 3], id="channels last"),
        pytest.param([1, 3, 5, 5], id="channels first"),
        pytest.param([2, 5, 7], id="two images"),
        pytest.param([1, 9], id="pixels of a square"),
    ],
)
def test_images_of_every_form_are_drawn(shape: list[int]) -> None:
    count = 1
    for size in shape:
        count *= size
    pixels = decode(heat_map.draw(image(shape, [float(i) for i in range(count)], [1.0] * count)))
    assert len({len(line) for line in pixels}) == 1
    assert (214, 39, 40) in pixels[0]


def test_channels_are_added_up_wherever_they_are() -> None:
    last = image([1, 1, 5, 2], [0.0] * 10, [0, 0, 1, 1, 0, 0, -1, 1, 0, 0])
    first = image([1, 2, 1, 5], [0.0] * 10, [0, 1, 0, -1, 0, 0, 1, 0, 1, 0])
    assert heat_map.draw(last) == heat_map.draw(first)


@pytest.mark.parametrize(
    ("shape", "data", "sentence"),
    [
        pytest.param([1, 3], [1.0] * 3, "The input is no image", id="no square"),
        pytest.param([1, 1, 1, 1, 4], [1.0] * 4, "The input is no image", id="five dimensions"),
        pytest.param([1, 4], ["a"] * 4, "The input is no image", id="texts"),
        pytest.param([1, 1, 3000], [1.0] * 3000, "at most 2048", id="too large"),
    ],
)
def test_what_is_no_image_is_refused(shape: list[int], data: list[Any], sentence: str) -> None:
    with pytest.raises(errors.PluginError, match=sentence):
        heat_map.draw(image(shape, data, [0.0] * len(data)))


class Page(html.parser.HTMLParser):
    """The tags and the texts of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.words: list[tuple[str, str, str]] = []
        self._span: dict[str, str | None] | None = None
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self._span = dict(attrs) if tag == "span" else None

    def handle_data(self, data: str) -> None:
        if self._span is not None:
            self.words.append((data, self._span["title"] or "", self._span["style"] or ""))
            self._span = None


HOSTILE = ['<script>alert("1")</script>', "'\"><img src=x onerror=y>", "&amp;", "плохо"]


def test_words_of_a_text_are_coloured_and_escaped() -> None:
    words = tensor("words", "BYTES", [1, 5], [*HOSTILE, ""])
    weights = tensor("attributions", "FP32", [1, 5], [0.5, -1.0, 0.0, 0.25, 0.0])
    answer = {**answer_of(weights, words), "model_name": "<b>model</b>"}
    found = explain.read({"inputs": [tensor("text", "BYTES", [1], [" ".join(HOSTILE)])]}, answer)
    page = Page(word_weights.draw(found, None))
    assert [word for word, _, _ in page.words] == HOSTILE
    assert [title for _, title, _ in page.words] == ["+0.5000", "-1.0000", "+0.0000", "+0.2500"]
    assert [re.findall(r"[\d.]+", style)[-1] for _, _, style in page.words] == ["0.500", "1.000", "0.000", "0.250"]
    assert "31,119,180" in page.words[1][2]
    assert set(page.tags) <= {"html", "head", "meta", "title", "style", "body", "h1", "p", "b", "br", "span"}


def test_numbers_are_named_by_the_vocabulary_and_padding_is_not_shown() -> None:
    weights = tensor("attributions", "FP32", [1, 4], [0.0, 0.0, 1.0, -0.5])
    request = {"inputs": [tensor("tokens", "INT32", [1, 4], [0, 0, 2, 9])]}
    found = explain.read(request, answer_of(weights))
    assert [word for word, _, _ in Page(word_weights.draw(found, ["<pad>", "a", "<b>good"])).words] == ["<b>good", "9"]
    assert [word for word, _, _ in Page(word_weights.draw(found, None)).words] == ["2", "9"]


def test_an_image_has_no_page_of_words() -> None:
    with pytest.raises(errors.PluginError, match="use -o png"):
        word_weights.draw(image([1, 4], BASELINE, BASELINE), None)


class Server:
    """A gateway that answers with `answer`, and keeps what it was sent."""

    def __init__(self, revision: str) -> None:
        self.revision = revision
        self.code = 200
        self.answer: dict[str, Any] = answer_of(tensor("attributions", "FP32", [1, 4], [0, 1.0, 0, 0]))
        self.sent: list[tuple[str | None, Any]] = []
        self.authorizations: list[str | None] = []

    def application(self) -> web.Application:
        made = web.Application()
        made.router.add_post("/v2/models/digits/explain", self._answer)
        return made

    async def _answer(self, request: web.Request) -> web.Response:
        self.authorizations.append(request.headers.get("authorization"))
        self.sent.append((request.headers.get("x-fairlead-revision"), await request.json()))
        body = self.answer if self.code == 200 else {"error": "8 explanations wait already"}
        return web.json_response(body, status=self.code, headers={"x-fairlead-revision": self.revision})


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    world = VirtualWorld()
    world.apply(NAME, model={"uri": "file:///m/1", "version": "v1"})
    world.settle()
    found = WorldCluster(world)
    monkeypatch.setattr(cluster, "connect", lambda **place: found)
    made = Server(str(found.world.models[NAME].status["stableRevision"]))
    thread = HttpThread(made.application)
    thread.start()
    monkeypatch.setenv("FAIRLEAD_GATEWAY", thread.url)
    yield made
    thread.stop()


REQUEST = {"inputs": [tensor("pixels", "FP32", [1, 4], [0, 1, 0, 0])], "parameters": {"steps": 16, "baseline": 0.5}}


def run(tmp_path: pathlib.Path, *arguments: str, request: Any = REQUEST) -> typer.testing.Result:
    file = tmp_path / "request.json"
    file.write_text(request if isinstance(request, str) else json.dumps(request))
    return typer.testing.CliRunner().invoke(commands.app, ["explain", NAME, "-f", str(file), *arguments])


def test_a_request_is_sent_with_the_parameters_of_the_command_line(server: Server, tmp_path: pathlib.Path) -> None:
    result = run(tmp_path, "--target", "3", "--steps", "64", "--revision", "v1")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout) == server.answer
    ((revision, sent),) = server.sent
    assert (revision, sent) == ("v1", {**REQUEST, "parameters": {"steps": 64, "baseline": 0.5, "target": 3}})


def test_the_key_is_that_of_the_file_or_of_the_environment(
    server: Server, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, other = "k" * 43, "o" * 43
    monkeypatch.setenv("FAIRLEAD_API_KEY", key)
    file = tmp_path / "key"
    file.write_text(other)
    for arguments in ((), ("--api-key-file", str(file))):
        result = run(tmp_path, *arguments)
        assert result.exit_code == 0, result.output
    assert server.authorizations == [f"Bearer {key}", f"Bearer {other}"]
    result = run(tmp_path, "--ca-file", str(tmp_path / "ca.pem"))
    assert result.exit_code == 1
    assert "A CA file is for https alone" in result.stderr


def test_a_baseline_of_null_is_the_default(server: Server, tmp_path: pathlib.Path) -> None:
    result = run(tmp_path, "-o", "png", request={**REQUEST, "parameters": {"baseline": None}})
    assert result.exit_code == 0, result.output
    assert len(decode(result.stdout_bytes)) == heat_map.SIDE_MIN


def test_a_picture_and_a_page_go_to_standard_output(server: Server, tmp_path: pathlib.Path) -> None:
    assert len(decode(run(tmp_path, "-o", "png").stdout_bytes)) == heat_map.SIDE_MIN
    tokens = {"inputs": [tensor("tokens", "INT32", [1, 4], [0, 1, 0, 0])]}
    words = tmp_path / "vocabulary.txt"
    words.write_text("<pad>\ngood\n")
    result = run(tmp_path, "-o", "html", "--vocabulary", str(words), request=tokens)
    assert [word for word, _, _ in Page(result.stdout).words] == ["good"]


@pytest.mark.parametrize(
    ("arguments", "request_", "sentence"),
    [
        pytest.param((), "{", "The request is not JSON", id="no JSON"),
        pytest.param((), {"instances": [[1]]}, "one of the Open Inference Protocol", id="another protocol"),
        pytest.param((), {**REQUEST, "parameters": []}, "parameters must be an object", id="parameters"),
        pytest.param(
            (), {**REQUEST, "parameters": {"binary_data_output": True}}, "binary_data_output can't be used", id="binary"
        ),
        pytest.param(("--vocabulary", "x"), REQUEST, "--vocabulary is for -o html alone", id="a vocabulary for JSON"),
        pytest.param(("-o", "html"), REQUEST, "use -o png", id="a page of an image"),
    ],
)
def test_a_mistake_is_one_line(
    server: Server, tmp_path: pathlib.Path, arguments: tuple[str, ...], request_: Any, sentence: str
) -> None:
    result = run(tmp_path, *arguments, request=request_)
    assert result.exit_code == 1
    assert sentence in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_refusal_is_shown_with_its_revision(server: Server, tmp_path: pathlib.Path) -> None:
    server.code = 429
    result = run(tmp_path)
    assert result.exit_code == 1
    assert f"revision {server.revision} answered 429: " in result.stderr


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        pytest.param(
            answer_of(tensor("attributions", "FP32", [1, 4], [0, None, 0, 0])), "not all finite numbers", id="null"
        ),
        pytest.param(
            answer_of(tensor("attributions", "FP32", [1, 4], [0, float("nan"), 0, 0])), "not all finite", id="NaN"
        ),
        pytest.param(
            answer_of(tensor("attributions", "FP32", [1, 4], [0, 10**400, 0, 0])), "not all finite", id="no FP32"
        ),
        pytest.param({"outputs": []}, "no explanation that can be drawn", id="nothing"),
        pytest.param(
            {"outputs": [tensor("attributions", "FP32", [1, 4], [0])]}, "no explanation that can be drawn", id="short"
        ),
        pytest.param(
            answer_of(tensor("attributions", "FP32", [2, 2], BASELINE), rows=2), "another number of rows", id="rows"
        ),
        pytest.param(answer_of(tensor("attributions", "FP32", [1, 2], [0, 0])), "have the shape", id="shape"),
    ],
)
def test_an_answer_of_another_form_is_no_picture(
    server: Server, tmp_path: pathlib.Path, changed: dict[str, Any], sentence: str
) -> None:
    server.answer = {**server.answer, **changed}
    result = run(tmp_path, "-o", "png")
    assert result.exit_code == 1
    assert sentence in result.stderr
