"""The node runs pods as any node does: names, services, images by digest, logs."""

from __future__ import annotations

import http.client
import json

from tests.node import pods

from fairlead_cli.local.node import cluster

_ASK = "import urllib.request as r; print(r.urlopen('http://{name}/', timeout=10).status)"


def test_a_pod_reaches_itself_and_others_by_the_name_of_their_service(node: cluster.NodeCluster) -> None:
    pods.apply(node, pods.web(node, "two", replicas=2), namespace="names")
    # Four times: half of them go to the other pod, half back to where they came from.
    for name in ("two", "two.names", "two.names.svc.cluster.local", "two"):
        asked = _ASK.format(name=name)
        output = pods.run(node, "exec", "--namespace=names", "deployment/two", "--", "python3", "-c", asked)
        assert output.strip() == "200"


def test_the_machine_reaches_services_and_pods(node: cluster.NodeCluster) -> None:
    pods.apply(node, pods.web(node, "one"), namespace="reached")
    of_service = pods.run(node, "get", "service/one", "--namespace=reached", "--output=jsonpath={.spec.clusterIP}")
    listed = json.loads(pods.run(node, "get", "pods", "--namespace=reached", "--output=json"))
    for address, port in ((of_service, 80), (listed["items"][0]["status"]["podIP"], 8000)):
        connection = http.client.HTTPConnection(address, port, timeout=10)
        connection.request("GET", "/")
        assert connection.getresponse().status == http.HTTPStatus.OK
        connection.close()


def test_pods_have_no_way_out_and_images_come_from_the_node_s_registry(node: cluster.NodeCluster) -> None:
    pods.apply(node, pods.web(node, "inside"), namespace="inside")
    asked = "import socket; socket.create_connection(('192.0.2.1', 80), timeout=5)"
    refused = node.kubectl("exec", "--namespace=inside", "deployment/inside", "--", "python3", "-c", asked)
    assert refused.returncode != 0
    assert "OSError" in refused.stderr or "TimeoutError" in refused.stderr
    (pod,) = json.loads(pods.run(node, "get", "pods", "--namespace=inside", "--output=json"))["items"]
    pulled = pod["status"]["containerStatuses"][0]["imageID"]
    assert pulled == node.ensure_image("base")
    assert "@sha256:" in pulled


def test_logs_and_the_way_into_a_pod_go_through_the_kubelet(node: cluster.NodeCluster) -> None:
    pods.apply(node, pods.web(node, "logged"), namespace="logged")
    where = ("--namespace=logged", "deployment/logged")
    pods.run(node, "exec", *where, "--", "python3", "-c", "open('/proc/1/fd/2', 'w').write('seen\\n')")
    assert "seen" in pods.run(node, "logs", *where)
