"""What `kubectl apply` says to good and bad manifests, on the real API server.

Whatever is wrong and can be known is refused here, by the field's name and with what would be right; what is let in,
the operator's models read.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

import pytest
from tests.support import dry_runs, kube_api, manifest_table

from fairlead_cli.local import cluster
from fairlead_operator.api import spec

pytestmark = pytest.mark.real

Answers = Mapping[str, dry_runs.Answer]
SAMPLE = 25
"""kubectl itself is asked for one row of so many, and for those that it makes a URL of: its start takes the time."""


@pytest.fixture(scope="module")
def answers(kubernetes: cluster.LocalCluster) -> Answers:
    """What the API server answered to each row."""
    path = kube_api.MODELS.format(namespace="default")
    rows = [*manifest_table.rows("refused"), *manifest_table.rows("accepted")]
    with dry_runs.DryRuns(kubernetes.kubeconfig) as api:
        return {
            row.id: _by_kubectl(kubernetes, row)
            if number % SAMPLE == 0 or _is_addressed(row)
            else api.create(path, row.manifest)
            for number, row in enumerate(rows)
        }


def _is_addressed(row: manifest_table.Row) -> bool:
    """Whether the row is about the kind, the name or the namespace: what kubectl makes a URL of."""
    plain = manifest_table.good_manifest({})
    return row.namespace != "default" or any(row.manifest.get(key) != plain[key] for key in plain if key != "spec")


def _by_kubectl(kubernetes: cluster.LocalCluster, row: manifest_table.Row) -> dry_runs.Answer:
    into = (f"--namespace={row.namespace}", "-f-", "-ojson")
    done = kubernetes.kubectl("apply", "--dry-run=server", *into, input=json.dumps(row.manifest))
    if done.returncode == 0:
        return dry_runs.Answer(stored=json.loads(done.stdout))
    return dry_runs.Answer(stored=None, errors=tuple(done.stderr.splitlines()))


def _each(table: str) -> list[Any]:
    return [pytest.param(row, id=row.id) for row in manifest_table.rows(table)]


@pytest.mark.parametrize("row", _each("refused"))
def test_an_invalid_manifest_is_refused_with_the_field_and_the_right_value(
    answers: Answers, row: manifest_table.Row
) -> None:
    answer = answers[row.id]
    assert answer.stored is None
    assert any(_message(line, row) for line in answer.errors), answer.errors


def _message(line: str, row: manifest_table.Row) -> bool:
    names_field = re.search(rf"(^|[^\w.]){re.escape(row.field)}([^\w.]|$)", line) is not None
    return names_field and all(words in line for words in row.says)


@pytest.mark.parametrize("row", _each("accepted"))
def test_an_unusual_but_valid_manifest_is_accepted(answers: Answers, row: manifest_table.Row) -> None:
    answer = answers[row.id]
    assert answer.stored is not None, answer.errors
    spec.ModelDeploymentSpec.model_validate(answer.stored["spec"])


def test_the_rows_have_unique_names() -> None:
    names = [row.id for table in ("refused", "accepted") for row in manifest_table.rows(table)]
    assert len(names) == len(set(names))
