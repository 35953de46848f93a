"""`logs`: what the replicas of a model wrote, from Ray's own log API, those that are gone included.

Source: ``/api/v0/nodes``, ``/api/v0/logs`` and ``/api/v0/logs/file`` of Ray 2.60's dashboard, which takes Ray's token.
"""

from __future__ import annotations

import pathlib
import urllib.parse
from collections.abc import Iterator

from fairlead_cli.plugin import cluster, errors, history, model_view, wire
from fairlead_operator.api import names

OK, UNAUTHORIZED = 200, 401
CHECK = "that Ray's dashboard runs, and its address (--ray or FAIRLEAD_RAY)"


class Dashboard:
    def __init__(self, url: str, token_file: pathlib.Path | None) -> None:
        self._url = url.rstrip("/")
        self._headers = {}
        if token_file is not None:
            try:
                self._headers["Authorization"] = f"Bearer {token_file.read_text(encoding='utf-8').strip()}"
            except OSError as error:
                raise errors.PluginError(f"Ray's token can't be read: {error}") from error

    def get(self, path: str, **query: str) -> wire.Answer:
        url = f"{self._url}{path}?{urllib.parse.urlencode(query)}"
        answer = wire.send("GET", url, check=CHECK, headers=self._headers)
        if answer.code == UNAUTHORIZED:
            raise errors.PluginError("Ray's dashboard refused the token: give its file with --ray-token-file.")
        if answer.code != OK:
            raise errors.PluginError(
                f"{url} answered {answer.code}, so it may be no dashboard of Ray: {answer.text()[:200]}"
            )
        return answer

    def nodes(self) -> list[str]:
        answer = self.get("/api/v0/nodes", limit="1000")
        found = answer.json()
        try:
            return [node["node_id"] for node in found["data"]["result"]["result"] if node["state"] == "ALIVE"]
        except (KeyError, TypeError) as error:
            raise _is_no_dashboard(answer) from error

    def files(self, node: str, glob: str) -> list[str]:
        answer = self.get("/api/v0/logs", node_id=node, glob=glob)
        found = answer.json()
        try:
            return sorted(file for files in found["data"]["result"].values() for file in files)
        except (KeyError, TypeError, AttributeError) as error:
            raise _is_no_dashboard(answer) from error

    def tail(self, node: str, file: str, lines: int) -> str:
        return self.get("/api/v0/logs/file", node_id=node, filename=file, lines=str(lines)).text()


def _is_no_dashboard(answer: wire.Answer) -> errors.PluginError:
    return errors.PluginError(f"{answer.url} is no answer of Ray's dashboard: {answer.text()[:200]} Check {CHECK}.")


def read_lines(
    found: cluster.Cluster, model: model_view.Model, dashboard: Dashboard, *, revision: str | None, lines: int
) -> Iterator[str]:
    """The last lines of each replica under a heading: of the revisions that have a place, unless one is named."""
    named = [history.find_revision(found, model, revision)] if revision is not None else _placed_revisions(model)
    if not named:
        raise errors.PluginError("No revision is running: name one with --revision.")
    nothing = True
    for name in named:
        application = names.serve_application(model.namespace, model.name, name)
        for node in dashboard.nodes():
            for file in dashboard.files(node, f"serve/replica_{application}_*"):
                nothing = False
                yield f"==> {model.describe_revision(name)}, node {node[:8]}: {file} <=="
                yield from dashboard.tail(node, file, lines).splitlines()
    if nothing:
        yield "Ray has no log of a replica of this model."


def _placed_revisions(model: model_view.Model) -> list[str]:
    status = model.status
    leaving = status.rollout.leaving if status.rollout is not None else None
    return [name for name in (status.stable_revision, status.candidate_revision, leaving) if name is not None]
