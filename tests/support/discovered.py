"""A namespace whose Ray clusters, gateways and token the real operator finds in the Kubernetes API."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import aiohttp
import yaml
from aiohttp import web
from tests.support.endpoint_slices import OWN_ADDRESS, Endpoint, Slices
from tests.support.fake_gateway import FakeGateway
from tests.support.fake_ray import FakeRay
from tests.support.http_thread import HttpThread
from tests.support.operated import Operated
from tests.support.operator_process import OperatorProcess
from tests.support.prepared import RAY_CLUSTERS
from tests.support.until import until
from typing_extensions import override

from fairlead_cli.local import cluster
from fairlead_operator.api.serving_class import ServingClassSpec
from fairlead_operator.desired import ray_cluster
from fairlead_operator.state import serving_class

HEAD_READY = {"conditions": [{"type": "HeadPodReady", "status": "True"}]}


class Heads:
    """What the names of Ray heads lead to on a cluster: one address, and a folder for each RayCluster."""

    def __init__(self) -> None:
        self.rays: dict[str, FakeRay] = {}
        self._server = HttpThread(self._application)

    def start(self) -> str:
        """The pattern for `--ray-head-url`."""
        self._server.start()
        return f"{self._server.url}/{{namespace}}/{{cluster}}"

    def stop(self) -> None:
        self._server.stop()

    def _application(self) -> web.Application:
        application = web.Application(client_max_size=1 << 26)
        application.router.add_route("*", "/{namespace}/{cluster}/{rest:.*}", self._forward)
        return application

    async def _forward(self, request: web.Request) -> web.Response:
        ray = self.rays.get(request.match_info["cluster"])
        if ray is None:
            return web.Response(status=503, text="no such head")
        url = f"{ray.url}/{request.match_info['rest']}"
        headers = {name: request.headers[name] for name in ("Authorization", "Content-Type") if name in request.headers}
        async with (
            aiohttp.ClientSession() as session,
            session.request(request.method, url, data=await request.read(), headers=headers) as answer,
        ):
            return web.Response(status=answer.status, body=await answer.read())


class Discovered(Operated):
    """The operator makes what the namespace needs; the test does what KubeRay and pods would do."""

    def __init__(self, kubernetes: cluster.LocalCluster, folder: Path, *, where: tuple[str, ...] = ()) -> None:
        super().__init__(kubernetes, folder, where=where, clusters=("unused",))
        self.heads = Heads()
        self.gateways: dict[str, FakeGateway] = {}
        self.class_name = f"fast-{self.namespace}"

    @override
    def __enter__(self) -> Discovered:
        self.kubectl("apply", "--server-side", "-f", "-", scoped=False, input_text=yaml.safe_dump(dict(RAY_CLUSTERS)))
        self.kubectl("wait", "--for=condition=Established", "crd/rayclusters.ray.io", scoped=False)
        labels = {"fairlead.dev/endpoints": "gateways", "kubernetes.io/service-name": "fairlead-gateway-members"}
        self.slices = Slices(self.kubernetes, labels=labels, namespace=self.namespace)
        super().__enter__()
        return self

    @override
    def __exit__(self, *ended: object) -> None:
        super().__exit__(*ended)
        for each in (*self.gateways.values(), *self.heads.rays.values()):
            each.stop()
        self.heads.stop()
        self.kubectl("delete", "sclass", self.class_name, "--ignore-not-found", scoped=False)

    @override
    def infrastructure(self) -> tuple[str, ...]:
        return ("--ray-head-url", self.heads.start())

    @override
    def start_operator(self, *_: str) -> None:
        self.operator = OperatorProcess(self._own_flags, log=self.folder / "operator.log", is_forked=True)
        self.operator.start()

    def write_class(self, image: str = "ray:1") -> str:
        """Write the class, and return the name of its RayCluster."""
        pods = {"cpu": "1", "memory": "1Gi"}
        spec = {
            "image": image,
            "rayVersion": "2.60.0",
            "head": pods,
            "worker": pods,
            "workers": {"min": 1, "max": 2},
            "gateway": {"image": "gateway:1"},
        }
        body = {
            "apiVersion": "fairlead.dev/v1alpha1",
            "kind": "ServingClass",
            "metadata": {"name": self.class_name},
            "spec": spec,
        }
        self.kubectl("apply", "-f", "-", scoped=False, input_text=json.dumps(body))
        class_ = serving_class.from_spec(self.class_name, ServingClassSpec.model_validate(spec))
        return ray_cluster.cluster_name(class_, namespace=self.namespace)

    def until_cluster(self, name: str) -> None:
        """The operator has made the RayCluster."""
        until(lambda: self.has_cluster(name), f"{name} is there", explain=self.operator.tail)

    def has_cluster(self, name: str) -> bool:
        return self.kubernetes.kubectl("-n", self.namespace, "get", "raycluster", name).returncode == 0

    def start_head(self, name: str) -> FakeRay:
        """Ray's head answers, with the token that there is now, and KubeRay says that its pod is ready."""
        self.heads.rays[name] = ray = FakeRay(token=self.token())
        ray.__enter__()
        patch = json.dumps({"status": HEAD_READY})
        self.kubectl("patch", "raycluster", name, "--subresource=status", "--type=merge", "-p", patch)
        return ray

    def token(self) -> str:
        """That of the Secret which the operator has made; empty where there is none."""
        found = self.api.get(self.api.core_path("secrets", "fairlead-ray-token"))
        return base64.b64decode(found["data"]["auth_token"]).decode() if found is not None else ""

    def rotate_token(self) -> None:
        """The Secret is immutable: it is deleted, and the operator makes another one."""
        before = self.token()
        self.kubectl("delete", "secret", "fairlead-ray-token")
        until(lambda: self.token() not in ("", before), "there is another token", explain=self.operator.tail)

    def start_gateway(self, name: str) -> FakeGateway:
        """One gateway pod, in a slice of its own as all have one address and other ports; it isn't listed yet."""
        made = FakeGateway(
            namespace=self.namespace,
            rays=self.heads.rays,
            read_routes=self._routes,
            name=name,
            host=OWN_ADDRESS,
        )
        made.__enter__()
        self.gateways[name] = made
        return made

    def list_gateways(self, names: Sequence[str], *, ending: Sequence[str] = (), unready: Sequence[str] = ()) -> None:
        """The slices as Kubernetes would have them for these pods."""
        for name in set(self.gateways) - set(names):
            self.slices.delete(name)
        for name in names:
            endpoint = Endpoint(OWN_ADDRESS, is_ready=name not in unready, is_ending=name in ending, pod=name)
            self.slices.write(name, [endpoint], ports=self.gateways[name].ports)

    def apply_placed(self, name: str, uri: str = "file:///models/good", **spec: Any) -> None:
        """Apply a model of the class."""
        self.apply(name, uri, cluster={"class": self.class_name}, **spec)
