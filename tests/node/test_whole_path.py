"""From `helm install` to a prediction: a manifest of fewer than 15 lines becomes all that a namespace needs."""

from __future__ import annotations

from tests.node import product
from tests.support.until import until


def test_a_manifest_becomes_a_prediction(served: product.Product) -> None:
    assert len(product.MANIFEST.splitlines()) <= 15
    assert served.predict() == (200, b'{"predictions":[[2.0,4.0],[6.0,8.0]]}')


def test_what_the_namespace_got_runs_as_the_class_says(served: product.Product) -> None:
    assert len(served.ready_pods("app.kubernetes.io/name=fairlead-gateway")) == 2
    assert len(served.ready_pods("ray.io/node-type=head")) == 1
    assert len(served.ready_pods("ray.io/node-type=worker")) == 2


def test_workers_are_forked_from_a_warm_process_although_kuberay_starts_ray(served: product.Product) -> None:
    """A node makes its warm process for its first worker: one that runs no replica has none yet."""
    read = ("--container=ray-worker", "--", "sh", "-c", "cat /tmp/ray/session_latest/logs/warm_start.log || true")
    workers = served.ready_pods("ray.io/node-type=worker")
    output = "".join(served.kubectl("exec", f"pod/{worker}", *read) for worker in workers)
    assert "ready after" in output
    assert "starts the ordinary way" not in output


def test_the_last_model_takes_what_was_made_for_its_namespace(served: product.Product) -> None:
    """Last: the model is gone afterwards."""
    served.kubectl("delete", "mdep/doubling", "--timeout=120s")
    made = ("get", product.KINDS, f"--selector={product.MADE}", "--output=name")
    until(lambda: served.kubectl(*made) == "", "nothing that was made", deadline_s=240, poll_s=1)
    served.await_no_pods()
