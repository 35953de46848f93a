"""Routes from a local file: for trying the gateway alone, and for its tests."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from pathlib import Path

from fairlead_gateway import metrics, watcher

_log = logging.getLogger(__name__)

_FILE_POLL_S = 0.1


class FileSource:
    """A JSON file `{model: spec}`; no file is no routes."""

    def __init__(self, path: Path, *, metrics_: metrics.Metrics) -> None:
        self._path = path
        self._metrics = metrics_

    async def follow(self) -> AsyncIterator[watcher.Data]:
        last: str | None = None
        while True:
            try:
                text = self._path.read_text() if self._path.exists() else "{}"
                if text != last:
                    yield {model: json.dumps(spec) for model, spec in json.loads(text).items()}
                    last = text
            except (OSError, ValueError) as error:
                self._metrics.count_source_error()
                _log.warning("routes file unreadable path=%s error=%s", self._path, error)
            await asyncio.sleep(_FILE_POLL_S)
