"""A real Prometheus as a process of its own: it scrapes what a test writes into a page, and the targets it names."""

from __future__ import annotations

import json
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from aiohttp import web
from tests.support import prometheus_binary
from tests.support.free_ports import free_port
from tests.support.http_thread import HttpThread
from tests.support.until import until


class PrometheusProcess:
    """``page`` is what it scrapes five times a second, in the text format of a metrics page.

    ``jobs`` are more scrape configurations, ``rule_files`` are evaluated every second.
    """

    def __init__(
        self, folder: Path, *, jobs: Sequence[Mapping[str, Any]] = (), rule_files: Sequence[Path] = ()
    ) -> None:
        self.page = ""
        self._folder = folder
        self._jobs = jobs
        self._rule_files = rule_files
        self._port = free_port()
        self._target = HttpThread(self._application)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def __enter__(self) -> Self:
        program = str(prometheus_binary.obtain())
        self._target.start()
        self._folder.mkdir(parents=True, exist_ok=True)
        config = self._folder / "prometheus.yml"
        target = self._target.url.removeprefix("http://")
        job = {"job_name": "models", "scrape_interval": "1s", "scrape_timeout": "1s"}
        jobs = [job | {"static_configs": [{"targets": [target]}]}, *self._jobs]
        rules = {"rule_files": [str(path) for path in self._rule_files], "global": {"evaluation_interval": "1s"}}
        config.write_text(json.dumps({"scrape_configs": jobs, **rules}))
        flags = (f"--config.file={config}", f"--storage.tsdb.path={self._folder / 'data'}")
        listen = f"--web.listen-address=127.0.0.1:{self._port}"
        with (self._folder / "prometheus.log").open("wb") as log:
            self._process = subprocess.Popen((program, *flags, listen), stdout=log, stderr=log)
        until(self._is_ready, "Prometheus is ready", deadline_s=200, explain=self._log)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._target.stop()

    def ask(self, query: str) -> list[str]:
        """The values that an expression has now."""
        url = f"{self.url}/api/v1/query?{urllib.parse.urlencode({'query': query})}"
        with urllib.request.urlopen(url, timeout=60) as answer:
            return [series["value"][1] for series in json.load(answer)["data"]["result"]]

    def _is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/-/ready", timeout=2) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def _log(self) -> str:
        return (self._folder / "prometheus.log").read_text(errors="replace")[-2000:]

    def _application(self) -> web.Application:
        async def metrics(_: web.Request) -> web.Response:
            return web.Response(text=self.page, content_type="text/plain")

        application = web.Application()
        application.router.add_get("/metrics", metrics)
        return application
