from __future__ import annotations

import pytest
from pydantic import ValidationError

from fairlead_operator.api import spec

MODEL = {"uri": "file:///models/digits/1"}


def test_a_uri_is_enough() -> None:
    read = spec.ModelDeploymentSpec.model_validate({"model": MODEL})
    assert read.scaling.replicas == 1
    assert read.rollout.strategy is spec.Strategy.ROLLING_UPDATE
    assert read.model.warmup.batch_sizes == (1,)


@pytest.mark.parametrize("cpu", ["2", 2, "2000m", "2.0"])
def test_cores_may_be_written_as_number_or_quantity(cpu: str | int) -> None:
    assert spec.Resources.model_validate({"cpu": cpu}).cpu_cores == 2.0


@pytest.mark.parametrize("memory", ["1Gi", 1073741824, "1048576Ki"])
def test_bytes_may_be_written_as_number_or_quantity(memory: str | int) -> None:
    assert spec.Resources.model_validate({"memory": memory}).memory_bytes == 1073741824


@pytest.mark.parametrize("cpu", [True, None, [], "two"])
def test_an_invalid_quantity_is_refused(cpu: object) -> None:
    with pytest.raises(ValidationError):
        spec.Resources.model_validate({"cpu": cpu})


def test_a_spec_is_immutable() -> None:
    read = spec.ModelDeploymentSpec.model_validate({"model": MODEL})
    with pytest.raises(ValidationError):
        read.suspend = True
