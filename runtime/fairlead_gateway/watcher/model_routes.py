"""Routes from the ModelRoute objects that the operator writes."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

from fairlead_gateway import collection, metrics, watcher

_PATH = "/apis/fairlead.dev/v1alpha1/namespaces/{namespace}/modelroutes"


class ModelRouteSource:
    """The namespace's ModelRoutes: listed, then watched, and listed again at least every `relist_s` seconds."""

    def __init__(self, *, kubeconfig: Path | None, namespace: str, relist_s: float, metrics_: metrics.Metrics) -> None:
        self._routes = collection.Collection(
            _PATH.format(namespace=namespace),
            read=_spec_text,
            kubeconfig=kubeconfig,
            relist_s=relist_s,
            on_error=metrics_.count_source_error,
        )

    def follow(self) -> AsyncIterator[watcher.Data]:
        return self._routes.follow()


def _spec_text(route: collection.Object) -> str:
    return json.dumps(route.get("spec"))
