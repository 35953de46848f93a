"""Where Ray clusters, gateways and Ray's tokens are found: given by flags, else by what Kubernetes has."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from fairlead_operator.clients import ray_serve
from fairlead_operator.clients.clock import Clock
from fairlead_operator.desired import ray_cluster
from fairlead_operator.observe import reflector, serving_classes
from fairlead_operator.observe.directory import clusters, gateways, tokens
from fairlead_operator.settings import Settings
from fairlead_operator.state import directory


@dataclass(frozen=True, slots=True, kw_only=True)
class Directories:
    """``find_token`` gives the way to a namespace's token, None where Ray asks for none."""

    clusters: directory.ClusterDirectory
    gateways: directory.GatewayDirectory
    classes: serving_classes.ServingClasses
    find_token: Callable[[str], ray_serve.ReadToken | None]
    reading: tuple[Callable[[], Coroutine[Any, Any, None]], ...] = ()

    async def run(self) -> None:
        """List and watch what is not given by flags, for ever."""
        await asyncio.gather(*(read() for read in self.reading), asyncio.Event().wait())


def make(
    settings: Settings, api: reflector.WatchApi, *, clock: Clock, on_change: Callable[[str | None], None]
) -> Directories:
    """``on_change`` gets the namespace where something came or went, None where it may be any."""
    classes = serving_classes.ServingClasses(api, clock=clock)
    if not settings.is_cluster_mode:
        path = settings.ray_token_file
        read_file = functools.partial(ray_serve.read_token_file, path) if path is not None else None
        return Directories(
            clusters=directory.StaticClusters(settings.clusters),
            gateways=directory.StaticGateways(settings.gateways),
            classes=classes,
            find_token=lambda _: read_file,
        )
    url = settings.ray_head_url
    naming = clusters.Naming(
        name_of=lambda class_, namespace: ray_cluster.cluster_name(class_, namespace=namespace),
        url_of=lambda namespace, name: url.replace("{namespace}", namespace).replace("{cluster}", name),
    )
    found = clusters.KubernetesClusters(
        api, settings.namespaces, classes=classes, naming=naming, clock=clock, on_change=on_change
    )
    secrets = tokens.KubernetesTokens(api, settings.namespaces, clock=clock)
    slices = gateways.KubernetesGateways(api, settings.namespaces, clock=clock, on_change=on_change)
    return Directories(
        clusters=found,
        gateways=slices,
        classes=classes,
        find_token=functools.partial(functools.partial, secrets.read),
        reading=(found.run, secrets.run, slices.run),
    )
