"""Sees to it that nobody gets past a HAProxy without an API key or a token where clients need one."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass

from fairlead_gateway import metrics, settings
from fairlead_gateway.haproxy import access, api_keys, changes, jwks, process, tokens
from fairlead_gateway.haproxy.control import Control, HAProxyError
from fairlead_gateway.haproxy.observed import Observed, parse_map_files

_log = logging.getLogger(__name__)

_START_TIMEOUT_S = 20.0
_ASK_AGAIN_S = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """What clients are known by: the maps of API keys and of the keys that sign tokens, with the names of those."""

    key_map: Mapping[str, str]
    token_map: Mapping[str, str]
    token_keys: tuple[str, ...]


class Guard:
    """The credentials of one gateway, and whether its HAProxy asks for them."""

    def __init__(
        self, settings_: settings.Settings, *, process_: process.Process, control: Control, metrics_: metrics.Metrics
    ) -> None:
        self._keys = api_keys.Store(settings_.api_keys) if settings_.api_keys is not None else None
        self._token_keys = jwks.Store(settings_.tokens, settings_.state_dir) if settings_.tokens is not None else None
        self._taken = frozenset(
            file
            for file in (
                None if settings_.api_keys is None else access.KEY_MAP,
                None if settings_.tokens is None else tokens.map_file(settings_.tokens),
            )
            if file is not None
        )
        self._is_in_force = not self._taken
        self._stop_grace_s = settings_.stop_grace_s
        self._process = process_
        self._control = control
        self._metrics = metrics_

    async def settle(self) -> Credentials:
        """Read the credentials and give them to a running HAProxy, whatever becomes of the routes.

        A key that was removed is refused also while a table can't be applied, a reload has to wait, keys of the other
        kind can't be read, or nothing can be written. So are all keys of a kind that the gateway before took, and this
        one does not. A kind that was never read stays as HAProxy has it.

        Raises:
            HAProxyError: when a kind was never read, or HAProxy can't be read or refuses what was.
            OSError: when the keys of tokens can't be written.
        """
        keys, signing = self._read_api_keys(), self._read_token_keys()
        if self._taken and not self._process.died.is_set():
            observed = await self._control.observe()
            await self._control.run(changes.credential_commands(keys.digests, signing.names, observed))
        if keys.digests is None or signing.names is None:
            missing = (
                None if keys.digests is not None else f"no API keys: {keys.error}",
                None if signing.names is not None else f"no keys of tokens: {signing.error}",
            )
            raise HAProxyError("; ".join(filter(None, missing)))
        if self._token_keys is not None:
            self._token_keys.write()
        return Credentials(key_map=keys.digests, token_map=signing.names, token_keys=tuple(sorted(signing.pems)))

    def _read_api_keys(self) -> api_keys.Keys:
        if self._keys is None:
            return api_keys.Keys(digests={})
        found = self._keys.read()
        self._metrics.api_keys.clients, self._metrics.api_keys.refused = found.clients, len(found.refused)
        return found

    def _read_token_keys(self) -> jwks.Keys:
        if self._token_keys is None:
            return jwks.Keys(names={})
        found = self._token_keys.read()
        shown = self._metrics.token_keys
        shown.keys, shown.refused, shown.is_refused = len(found.pems), len(found.refused), found.error is not None
        return found

    def note_start(self) -> None:
        """A HAProxy was started with the configuration of this gateway, which asks for what clients need."""
        self._is_in_force = True

    async def judge(self, observed: Observed) -> None:
        """End the HAProxy that was observed after an application if it lets in others than this gateway does."""
        if not self._is_in_force and not self._process.died.is_set():
            await self._judge((access.KEY_MAP if observed.key_map is not None else None, observed.token_file))

    async def end_open_haproxy(self) -> None:
        """End a HAProxy that asks for no credential where clients need one: an agent without keys may have left it.

        By then it had its chance to get a configuration that asks. It finishes what is in flight and takes nothing new.
        So is one where nobody listens on the runtime socket within the time of a start: an agent may have been killed
        while it ended it, and then it still answers on the connections that are open. One that is slow goes on, and is
        asked again with the next call: it is as slow to its clients.
        """
        if self._is_in_force or self._process.died.is_set():
            return
        try:
            files = parse_map_files(await self._ask_for_maps())
        except HAProxyError as error:
            if not _is_nobody_there(error):
                _log.warning("haproxy not read error=%s", error)
                return
            _log.error("haproxy ended reason=it can't be read, so it may ask for no API key or token error=%s", error)
            await self._process.stop(grace_s=self._stop_grace_s)
            return
        await self._judge((access.KEY_MAP if access.KEY_MAP in files else None, tokens.find_map(files)))

    async def end(self) -> None:
        """For an agent that ends by itself, as where its state folder is full: HAProxy goes on without one.

        What was removed is refused from now on, and one that lets in others than this gateway does is ended.
        """
        try:
            await self.settle()
        except (HAProxyError, OSError) as error:
            _log.warning("credentials not settled error=%s", error)
        await self.end_open_haproxy()

    async def _judge(self, files: tuple[str | None, ...]) -> None:
        """End it if it takes no credentials, or others than this gateway's, or judges tokens by other rules."""
        asked = frozenset(filter(None, files))
        self._is_in_force = bool(asked) and asked <= self._taken
        if not self._is_in_force:
            what = (
                "takes other credentials than this gateway, or by other rules,"
                if asked
                else "asks for no API key or token"
            )
            _log.error("haproxy ended reason=it %s, and its configuration can't be changed", what)
            await self._process.stop(grace_s=self._stop_grace_s)

    async def _ask_for_maps(self) -> str:
        """HAProxy's list of its maps. Where nobody listens it is asked again for the time of a start.

        Raises:
            HAProxyError: when HAProxy does not answer.
        """
        deadline = time.monotonic() + _START_TIMEOUT_S
        while True:
            try:
                return await self._control.ask("show map")
            except HAProxyError as error:
                if not _is_nobody_there(error) or time.monotonic() > deadline:
                    raise
            await asyncio.sleep(_ASK_AGAIN_S)


async def end_left_haproxy(settings_: settings.Settings, metrics_: metrics.Metrics) -> None:
    """See to the HAProxy that an earlier agent left, where clients need API keys or tokens.

    For an agent that ends before it took that HAProxy over: it would go on letting in everybody, or removed keys.

    Raises:
        OSError: when the state folder can't be opened.
    """
    if settings_.api_keys is None and settings_.tokens is None:
        return
    control = Control(settings_.state_dir)
    try:
        left = process.Process(settings_, log_fd=-1)
        # An adoption is recorded, which a full folder refuses; the record that is there says the same.
        with contextlib.suppress(OSError):
            if not left.adopt_recorded():
                with contextlib.suppress(HAProxyError):
                    master = (await control.processes()).master
                    if master is not None:
                        left.adopt(master)
        guarding = Guard(settings_, process_=left, control=control, metrics_=metrics_)
        try:
            await guarding.end()
        finally:
            left.leave()
    finally:
        control.close()


def _is_nobody_there(error: HAProxyError) -> bool:
    return isinstance(error.__cause__, ConnectionRefusedError | FileNotFoundError)
