"""A git repository that is committed to in a test and read over HTTP, through git's own server program."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from aiohttp import web
from tests.support.http_thread import HttpThread
from typing_extensions import override

BRANCH = "main"
_ENVIRONMENT = {
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_AUTHOR_NAME": "test",
    "GIT_AUTHOR_EMAIL": "test@models.example",
    "GIT_COMMITTER_NAME": "test",
    "GIT_COMMITTER_EMAIL": "test@models.example",
}


class GitServer(HttpThread):
    """One repository with one branch; each change of it is a commit that is pushed."""

    def __init__(self, folder: Path) -> None:
        super().__init__(self._application)
        self._bare = folder / "models.git"
        self._work = folder / "models"
        self._root = folder

    @override
    def start(self) -> None:
        self._root.mkdir(parents=True, exist_ok=True)
        self._git("init", "--quiet", "--bare", f"--initial-branch={BRANCH}", str(self._bare), where=self._root)
        self._git("clone", "--quiet", str(self._bare), str(self._work), where=self._root)
        self._git("checkout", "--quiet", "-B", BRANCH)
        super().start()

    @property
    @override
    def url(self) -> str:
        return f"{super().url}/{self._bare.name}"

    def commit(self, files: Mapping[str, str | None]) -> str:
        """Commit these contents by path, None for a file that is removed; gives the commit's hash."""
        for name, text in files.items():
            path = self._work / name
            if text is None:
                path.unlink()
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        self._git("add", "--all")
        self._git("commit", "--quiet", f"--message=Change {', '.join(files)}")
        return self._push()

    def revert(self) -> str:
        """``git revert`` of the last commit; gives the hash of the new one."""
        self._git("revert", "--no-edit", "HEAD")
        return self._push()

    def _push(self) -> str:
        self._git("push", "--quiet", "origin", BRANCH)
        return self._git("rev-parse", "HEAD").strip()

    def _git(self, *arguments: str, where: Path | None = None) -> str:
        done = subprocess.run(
            ["git", *arguments],
            cwd=where or self._work,
            env={**os.environ, **_ENVIRONMENT},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def _application(self) -> web.Application:
        application = web.Application()
        application.router.add_route("*", "/{path:.*}", self._answer)
        return application

    async def _answer(self, request: web.Request) -> web.Response:
        """The answer of ``git http-backend``, a CGI program."""
        body = await request.read()
        environment = {
            "GIT_PROJECT_ROOT": str(self._root),
            "GIT_HTTP_EXPORT_ALL": "1",
            "GIT_PROTOCOL": request.headers.get("Git-Protocol", ""),
            "REQUEST_METHOD": request.method,
            "PATH_INFO": request.path,
            "QUERY_STRING": request.query_string,
            "CONTENT_TYPE": request.headers.get("Content-Type", ""),
            "CONTENT_LENGTH": str(len(body)),
        }
        process = await asyncio.create_subprocess_exec(
            "git",
            "http-backend",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env={**os.environ, **_ENVIRONMENT, **environment},
        )
        output, _ = await process.communicate(body)
        head, _, content = output.partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
        status = int(headers.pop("Status", "200 OK").split()[0])
        return web.Response(status=status, headers=headers, body=content)
