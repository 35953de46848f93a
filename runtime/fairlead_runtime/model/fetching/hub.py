"""Models of a hub with the URLs of Hugging Face's, or of a mirror of it: a repository at a revision, by plain HTTP."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.parse import quote, unquote

from fairlead_runtime.errors import LoadError, LoadReason
from fairlead_runtime.model import http_fetch
from fairlead_runtime.model.fetching import tree, web_files
from fairlead_runtime.model.fetching.access import Access
from fairlead_runtime.model.fetching.allowance import Allowance

_NAME = "[A-Za-z0-9][A-Za-z0-9._-]{0,255}"
_URI = re.compile(f"hf://({_NAME}/{_NAME})@({_NAME})(?:/(.*))?")


def download(uri: str, into: Path, allowance: Allowance, access: Access, *, expect: Callable[[int], None]) -> None:
    """Writes a file of the repository as the new file `into`, or what is below a path into a new folder."""
    parts = _URI.fullmatch(uri)
    if parts is None:
        raise LoadError(LoadReason.MODEL_NOT_FOUND, f"spec.model.uri: {uri} must look like hf://ORG/NAME@REVISION/PATH")
    repository, revision, path = parts[1], parts[2], unquote(parts[3] or "").strip("/")
    base = web_files.require_endpoint(access, "the hub or its mirror")
    listing = f"{base}/api/models/{repository}/revision/{revision}"
    commit, names = _parse(http_fetch.read_json(listing, into.with_name("listing"), allowance, access), uri)

    def entry(name: str, inner: str) -> tree.Entry:
        tree.check_name(inner)
        # By the commit, so that all files are of one state, whatever the revision's name comes to mean meanwhile.
        return web_files.entry(inner, f"{base}/{repository}/resolve/{commit}/{quote(name)}", access)

    if path in names:
        (only,) = tree.check([entry(path, path.rpartition("/")[2])], allowance.bounds)
        tree.download_one(only, into, allowance)
        return
    start = f"{path}/" if path else ""
    found = [name for name in names if name.startswith(start)]
    if not found:
        raise LoadError(
            LoadReason.MODEL_NOT_FOUND, f"{uri}: the repository has no file of that path, and none below it"
        )
    entries = (entry(name, name.removeprefix(start)) for name in found)
    web_files.download(entries, into, allowance, expect=expect)


def _parse(answer: object, uri: str) -> tuple[str, Sequence[str]]:
    """The commit and the names of all files."""
    if isinstance(answer, dict):
        commit, siblings = answer.get("sha"), answer.get("siblings")
        if isinstance(commit, str) and re.fullmatch(_NAME, commit) and isinstance(siblings, list):
            names = [each.get("rfilename") if isinstance(each, dict) else None for each in siblings]
            if all(isinstance(each, str) for each in names):
                return commit, [str(each) for each in names]
    raise LoadError(
        LoadReason.FETCH_FAILED, f"{uri}: what spec.model.endpoint answers is not the description of a repository"
    )
