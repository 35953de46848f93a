"""Asks each node's directory by a long poll, and keeps what it answers."""

import asyncio
import dataclasses
import logging
import random
import time
from collections.abc import Awaitable, Callable

import aiohttp

from fairlead_gateway import metrics, settings
from fairlead_gateway.nodes import directory, knowledge, members

_log = logging.getLogger(__name__)

WAIT_S = 2.0
"""How long a directory may hold a question. The process that holds it may hang: another one is asked after this."""

ANSWER_S = 1.0
"""How long an answer that is due may take."""

NEXT_S = 0.02
UNCHANGED_S = 0.05
_RETRY_S = 0.02
_RETRY_MAX_S = 1.0
_LIST_RETRY_S = 1.0

FAILURES = 3
"""So many failures in a row count as an answer. After the first one a gateway would be ready too early."""


class _RefusedError(Exception):
    """The directory answered with something else than its replicas."""


_UNREADABLE = (_RefusedError, directory.InvalidAnswerError, aiohttp.ClientError, OSError, TimeoutError, ValueError)


class Poller:
    """One question at a time for each node, for as long as it is listed."""

    def __init__(
        self,
        nodes: members.NodeList,
        *,
        namespace: str,
        known: knowledge.Knowledge,
        changed: Callable[[], None],
        metrics_: metrics.Metrics,
    ) -> None:
        self._nodes = nodes
        self._namespace = namespace
        self._known = known
        self._changed = changed
        self._metrics = metrics_
        self.pause: Callable[[float], Awaitable[None]] = asyncio.sleep
        self._tasks: dict[settings.Node, asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Follow the list of nodes, and each node on it, until cancelled."""
        try:
            async with _session() as session:
                while True:
                    try:
                        async for nodes in self._nodes.follow():
                            self._follow(session, frozenset(nodes))
                    except OSError as error:
                        _log.warning("node list unreadable error=%s", error)
                    await asyncio.sleep(_LIST_RETRY_S)
        finally:
            for task in self._tasks.values():
                task.cancel()
            await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    def _follow(self, session: aiohttp.ClientSession, nodes: frozenset[settings.Node]) -> None:
        for gone in self._tasks.keys() - nodes:
            self._tasks.pop(gone).cancel()
        self._known.set_nodes(sorted(nodes, key=lambda node: (node.cluster, node.host, node.port)))
        for node in nodes - self._tasks.keys():
            self._tasks[node] = asyncio.create_task(self._ask_on(session, node), name=f"node {node.address}")
        self._changed()

    async def _ask_on(self, session: aiohttp.ClientSession, node: settings.Node) -> None:
        view = knowledge.View(node=node)
        pause_s, failures = _RETRY_S, 0
        while True:
            before = view
            try:
                answer = await self._ask(session, node, view)
            except _UNREADABLE as error:
                reason = f"{type(error).__name__}: {error}"[:300]
                failures += 1
                view = dataclasses.replace(view, is_asked=view.is_asked or failures >= FAILURES, reason=reason)
                self._metrics.count_node_error()
                if before.reason is None:
                    _log.warning("node unreadable cluster=%s address=%s reason=%r", node.cluster, node.address, reason)
                self._keep(view, before)
                await asyncio.sleep(pause_s * random.uniform(0.8, 1.2))  # noqa: S311 - jitter, no secret
                pause_s = min(pause_s * 2, _RETRY_MAX_S)
                continue
            if before.reason is not None:
                _log.info("node readable cluster=%s address=%s", node.cluster, node.address)
            pause_s, failures = _RETRY_S, 0
            view = knowledge.View(node=node, answer=answer, answered_at=time.monotonic(), is_asked=True)
            self._keep(view, before)
            # A directory that never waits, or changes all the time, must not keep this process busy.
            await self.pause(NEXT_S if answer is not before.answer else UNCHANGED_S)

    def _keep(self, view: knowledge.View, before: knowledge.View) -> None:
        self._known.keep(view)
        views = self._known.views
        self._metrics.set_nodes(
            known=sum(each.is_known for each in views),
            unknown=sum(not each.is_known for each in views),
            replicas=sum(len(each.answer.replicas) for each in views if each.answer is not None),
        )
        if view.answer is not before.answer or view.is_asked is not before.is_asked:
            self._changed()

    async def _ask(self, session: aiohttp.ClientSession, node: settings.Node, view: knowledge.View) -> directory.Answer:
        """The node's answer; the one before where nothing changed.

        After a failure the whole answer is requested, because another process may answer now.
        """
        since = view.answer.version if view.answer is not None and view.reason is None else None
        url = f"http://{node.address}/v1/replicas"
        query = {} if since is None else {"since": since, "wait": f"{WAIT_S:g}"}
        async with asyncio.timeout(ANSWER_S + (0 if since is None else WAIT_S)):
            async with session.get(url, params=query, allow_redirects=False) as answer:
                if answer.status == 304 and view.answer is not None:
                    return view.answer
                if answer.status != 200:
                    raise _RefusedError(f"{answer.status} {answer.reason}"[:200])
                body = await _read(answer.content)
        found = directory.parse(body, namespace=self._namespace, cluster=node.cluster)
        if found.refused:
            self._metrics.count_refused_replicas(found.refused)
        return view.answer if view.answer is not None and view.answer == found else found


async def _read(content: aiohttp.StreamReader) -> bytes:
    body = b""
    async for chunk in content.iter_any():
        body += chunk
        if len(body) > directory.BODY_BYTES_MAX:
            raise _RefusedError(f"the answer is longer than {directory.BODY_BYTES_MAX} bytes")
    return body


def _session() -> aiohttp.ClientSession:
    """Each question has a connection of its own: which process of the node gets it, the kernel decides for each."""
    connector = aiohttp.TCPConnector(limit=0, force_close=True)
    return aiohttp.ClientSession(connector=connector, trust_env=False, auto_decompress=False)
