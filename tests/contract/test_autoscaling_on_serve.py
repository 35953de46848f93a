"""What the operator composes and the runtime decides, in the hands of Ray Serve's own code: no process is started.

It is Ray's controller that keeps a `DeploymentAutoscalingState` for each deployment; here it is called directly.
"""

from __future__ import annotations

import time
from typing import Any

import pytest
from ray.serve._private.autoscaling_state import DeploymentAutoscalingState
from ray.serve._private.common import DeploymentID, ReplicaID, ReplicaMetricReport, TimeStampedValue
from ray.serve._private.config import DeploymentConfig
from ray.serve._private.deploy_utils import get_app_code_version
from ray.serve._private.deployment_info import DeploymentInfo
from ray.serve.config import AutoscalingConfig
from ray.serve.schema import ServeApplicationSchema
from tests.support.until import until

from fairlead_operator.desired import application as composed
from fairlead_operator.state.desired import Autoscaling

BOUNDS = Autoscaling(least=1, most=5, ongoing_requests=4, up_s=0, down_s=1)
DEPLOYMENT = DeploymentID(name="replica", app_name="default--digits--0123456789")
REPLICAS = [ReplicaID(unique_id=str(number), deployment_id=DEPLOYMENT) for number in range(5)]


@pytest.fixture
def state() -> DeploymentAutoscalingState:
    config: Any = composed.autoscaled(BOUNDS)["autoscaling_config"]
    made = DeploymentAutoscalingState(DEPLOYMENT)
    info = DeploymentInfo(
        deployment_config=DeploymentConfig(autoscaling_config=AutoscalingConfig(**config)),
        replica_config=None,
        start_time_ms=0,
        deployer_job_id="test",
        version="1",
    )
    assert made.register(info, 1) == 1
    made.update_running_replica_ids(REPLICAS[:1])
    return made


def report(state: DeploymentAutoscalingState, replica: ReplicaID, *loads: float) -> None:
    """What a replica pushes: the load that `record_autoscaling_stats` gave, beside Ray's own count of 0."""
    now_s = time.time()
    series = [TimeStampedValue(now_s - age, load) for age, load in enumerate(loads)]
    metrics = {"running_requests": [TimeStampedValue(now_s, 0.0)], "ongoing": series, "queued": series}
    state.record_request_metrics_for_replica(ReplicaMetricReport(replica_id=replica, timestamp=now_s, metrics=metrics))


def test_serve_decides_by_the_load_that_the_replicas_report(state: DeploymentAutoscalingState) -> None:
    assert state.get_decision_num_replicas(1) == 1
    report(state, REPLICAS[0], 10.0, 14.0)
    assert state.get_decision_num_replicas(1) == 3
    state.update_running_replica_ids(REPLICAS[:3])
    assert state.get_decision_num_replicas(3) == 3, "two replicas have not reported yet"
    report(state, REPLICAS[0], 100.0)
    assert state.get_decision_num_replicas(3) == BOUNDS.most


def test_serve_takes_replicas_away_after_the_window(state: DeploymentAutoscalingState) -> None:
    state.update_running_replica_ids(REPLICAS[:3])
    for replica in REPLICAS[:3]:
        report(state, replica, 0.0)
    assert state.get_decision_num_replicas(3) == 3
    until(lambda: state.get_decision_num_replicas(3) == 1, "one replica after the window", deadline_s=400)


def version(replicas: dict[str, Any]) -> str:
    """Ray restarts all replicas where this changes."""
    deployment = {"name": "replica", **replicas}
    return get_app_code_version(
        ServeApplicationSchema(name="a", import_path=composed.IMPORT_PATH, args={}, deployments=[deployment])
    )


def test_other_bounds_are_the_same_code_and_a_policy_that_appears_is_not() -> None:
    other = Autoscaling(least=2, most=9, ongoing_requests=7, up_s=1, down_s=9)
    assert version(composed.autoscaled(BOUNDS)) == version(composed.autoscaled(other))
    assert version(composed.autoscaled(BOUNDS)) != version(composed.fixed(1))
