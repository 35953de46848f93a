"""``python -m examples.sentiment_client --url … --vocabulary … TEXT …``: words to ids here, the network elsewhere.

Needs neither TensorFlow nor numpy, so that it shows what an application has to do.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import sys
import urllib.error
import urllib.request
from collections.abc import Sequence
from typing import Any

from examples import vocabulary

WITHIN_S = 30.0


class Refused(Exception):
    """The gateway or the model did not answer with a prediction; the message has its own words."""


def ask(url: str, model: str, words: vocabulary.Vocabulary, texts: Sequence[str]) -> list[float]:
    """The probability, for each text, that it is positive.

    Raises:
        Refused: no prediction came.
    """
    tensor = _call(f"{url}/v2/models/{model}")["inputs"][0]
    length = int(tensor["shape"][-1])
    rows = words.encode_all(texts, length)
    answer = _call(f"{url}/v2/models/{model}/infer", request(tensor, rows))
    return [float(value) for value in answer["outputs"][0]["data"]]


def request(tensor: dict[str, Any], rows: Sequence[Sequence[int]]) -> dict[str, Any]:
    """An Open Inference request; the input's name and type are as the model's metadata say."""
    data = [number for row in rows for number in row]
    shape = [len(rows), len(rows[0])]
    return {"inputs": [{"name": tensor["name"], "datatype": tensor["datatype"], "shape": shape, "data": data}]}


def _call(url: str, body: dict[str, Any] | None = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    asked = urllib.request.Request(url, data=data, headers={"content-type": "application/json"})
    try:
        with urllib.request.urlopen(asked, timeout=WITHIN_S) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        raise Refused(f"{url}: {error.code}: {error.read().decode(errors='replace').strip()}") from error
    except urllib.error.URLError as error:
        raise Refused(f"{url}: {error.reason}") from error


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m examples.sentiment_client")
    parser.add_argument("--url", required=True, help="the gateway, such as http://127.0.0.1:8080")
    parser.add_argument("--model", default="lstm")
    parser.add_argument(
        "--vocabulary", type=pathlib.Path, required=True, help="vocabulary.txt beside the trained model"
    )
    parser.add_argument("text", nargs="*", help="without one, a line of standard input is a text")
    flags = parser.parse_args(arguments)
    texts = flags.text or [line.strip() for line in sys.stdin if line.strip()]
    if not texts:
        parser.error("no text")
    try:
        scores = ask(flags.url.rstrip("/"), flags.model, vocabulary.load(flags.vocabulary), texts)
    except Refused as error:
        print(error, file=sys.stderr)
        return 1
    for score, text in zip(scores, texts, strict=True):
        print(f"{'positive' if score >= 0.5 else 'negative'}  {score:.3f}  {text}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
