"""The tests' model as a person serves it with Ray Serve alone: a class that loads a SavedModel and answers requests.

A RayService mounts this file and imports `build` from it; the test puts it into a ConfigMap and never imports it.
"""

from __future__ import annotations

import io
import tarfile
import tempfile
import urllib.request

import tensorflow as tf
from ray import serve
from starlette.requests import Request
from starlette.responses import JSONResponse, Response


@serve.deployment
class Doubling:
    """A replica. Each answer says in a header which version gave it, as Fairlead's answers do."""

    def __init__(self, url: str, version: str) -> None:
        with urllib.request.urlopen(url) as answer, tempfile.TemporaryDirectory() as folder:
            with tarfile.open(fileobj=io.BytesIO(answer.read())) as archive:
                archive.extractall(folder)
            self._model = tf.saved_model.load(f"{folder}/doubling")
        self._call = self._model.signatures["serving_default"]
        self._headers = {"x-fairlead-revision": version}

    async def __call__(self, request: Request) -> Response:
        asked = await request.json()
        outputs = self._call(x=tf.constant(asked["instances"], tf.float32))
        return JSONResponse({"predictions": outputs["y"].numpy().tolist()}, headers=self._headers)


def build(arguments: dict[str, str]) -> serve.Application:
    return Doubling.bind(arguments["url"], arguments["version"])
