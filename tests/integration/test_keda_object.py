"""The ScaledObject of the documentation is one that KEDA takes, by its CRD on a real API server.

KEDA's operator does not run here. What it makes of the object is a HorizontalPodAutoscaler with a metric of the type
External, as in `test_outside_autoscaler`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support import go_modules
from tests.support.until import until

from fairlead_cli.local import cluster

pytestmark = pytest.mark.real
MODULE, VERSION = "github.com/kedacore/keda/v2", "v2.21.0"
CHECKSUM = "h1:R6z2HZvstK4RLUMxroNACzBj74xGxt3kG59b5Xc+Xps="
CRD = "scaledobjects.keda.sh"
DOCUMENT = Path(__file__).parents[2] / "docs" / "autoscaling.md"


@pytest.fixture(scope="module")
def keda(kubernetes: cluster.LocalCluster) -> Iterator[cluster.LocalCluster]:
    """The API server with KEDA's CRD of ScaledObjects."""
    file = go_modules.folder(MODULE, VERSION, checksum=CHECKSUM) / "config/crd/bases/keda.sh_scaledobjects.yaml"
    made = kubernetes.kubectl("apply", "--server-side", f"--filename={file}")
    assert made.returncode == 0, made.stderr
    ready = kubernetes.kubectl("wait", f"crd/{CRD}", "--for=condition=Established", "--timeout=60s")
    assert ready.returncode == 0, ready.stderr
    kubernetes.kubectl("create", "namespace", "models")
    yield kubernetes
    kubernetes.kubectl("delete", f"crd/{CRD}", "namespace/models", "--timeout=120s")


def documented() -> str:
    """The manifest in the documentation."""
    (found,) = [
        each for each in re.findall(r"```yaml\n(.*?)```", DOCUMENT.read_text(), re.DOTALL) if "ScaledObject" in each
    ]
    return found


def test_keda_s_crd_takes_the_documented_object(keda: cluster.LocalCluster) -> None:
    how = ("create", "--dry-run=server", "--validate=strict", "--filename=-")
    done = until(lambda: _taken(keda, *how), "a kind that kubectl knows", deadline_s=60)
    assert done == "scaledobject.keda.sh/digits created (server dry run)"
    misspelled = keda.kubectl(*how, input=documented().replace("minReplicaCount", "minReplicas"))
    assert 'unknown field "spec.minReplicas"' in misspelled.stderr


def _taken(keda: cluster.LocalCluster, *how: str) -> str:
    done = keda.kubectl(*how, input=documented())
    assert "unknown field" not in done.stderr, done.stderr
    return done.stdout.strip()
