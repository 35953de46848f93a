"""A metrics adapter as small as can be: the request rate by model, for Kubernetes' metrics APIs.

It serves ``requests_per_second`` as an external metric, with the model in a label, and as a custom metric of the
ModelDeployment.
"""

from __future__ import annotations

import datetime
import http.server
import json
import pathlib
import re
import ssl
import urllib.parse
from typing import Protocol

METRIC = "requests_per_second"
_EXTERNAL = "external.metrics.k8s.io/v1beta1"
_CUSTOM = "custom.metrics.k8s.io/v1beta2"
_EXTERNAL_PATH = re.compile(rf"/apis/{_EXTERNAL}/namespaces/[^/]+/{METRIC}")
_CUSTOM_PATH = re.compile(rf"/apis/{_CUSTOM}/namespaces/([^/]+)/modeldeployments\.fairlead\.dev/([^/]+)/{METRIC}")


class Rates(Protocol):
    """What the adapter serves."""

    def rate(self, model: str) -> float:
        """The requests of each second."""


def answer(target: str, rates: Rates) -> object | None:
    """What is at this path with its query; None where nothing is."""
    path, _, query = target.partition("?")
    now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    if path in (f"/apis/{_EXTERNAL}", f"/apis/{_CUSTOM}"):
        resource = {"name": METRIC, "singularName": "", "namespaced": True, "kind": "MetricValueList", "verbs": ["get"]}
        version = path.removeprefix("/apis/")
        return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version, "resources": [resource]}
    if _EXTERNAL_PATH.fullmatch(path):
        selected = urllib.parse.parse_qs(query)["labelSelector"][0]
        model = selected.removeprefix("model=")
        item = {
            "metricName": METRIC,
            "metricLabels": {"model": model},
            "timestamp": now,
            "value": _quantity(rates, model),
        }
        return {"kind": "ExternalMetricValueList", "apiVersion": _EXTERNAL, "metadata": {}, "items": [item]}
    if found := _CUSTOM_PATH.fullmatch(path):
        namespace, model = found.groups()
        described = {"kind": "ModelDeployment", "namespace": namespace, "name": model}
        item = {
            "describedObject": described,
            "metric": {"name": METRIC},
            "timestamp": now,
            "value": _quantity(rates, model),
        }
        return {"kind": "MetricValueList", "apiVersion": _CUSTOM, "metadata": {}, "items": [item]}
    return None


def _quantity(rates: Rates, model: str) -> str:
    return f"{round(rates.rate(model) * 1000)}m"


def server(host: str, port: int, folder: pathlib.Path, rates: Rates) -> http.server.ThreadingHTTPServer:
    """Listens with the certificate of the folder. The caller runs and closes it."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = answer(self.path, rates)
            content = json.dumps(found).encode()
            self.send_response(404 if found is None else 200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Nothing: the API server asks all the time."""

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "tls.crt", folder / "tls.key")
    listening = http.server.ThreadingHTTPServer((host, port), Handler)
    listening.socket = context.wrap_socket(listening.socket, server_side=True)
    return listening
