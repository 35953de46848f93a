"""What `kubectl apply` says to good and bad manifests, on the real API server.

Whatever is wrong and can be known is refused here, by the field's name and with what would be right; what is let in,
the operator's models read.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Mapping
from concurrent import futures
from typing import Any

import pytest
from tests.support import manifest_table

from fairlead_cli.local import cluster
from fairlead_operator.api import spec

pytestmark = pytest.mark.real

Answers = Mapping[str, subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def answers(kubernetes: cluster.LocalCluster) -> Answers:
    """What kubectl answered to each row, asked a few at a time, since it is kubectl's own start that takes the time."""

    def ask(row: manifest_table.Row) -> subprocess.CompletedProcess[str]:
        into = (f"--namespace={row.namespace}", "-f-", "-ojson")
        return kubernetes.kubectl("apply", "--dry-run=server", *into, input=json.dumps(row.manifest))

    rows = [*manifest_table.rows("refused"), *manifest_table.rows("accepted")]
    ask(rows[0])  # fills kubectl's cache of what the API server has
    with futures.ThreadPoolExecutor(max_workers=4) as pool:
        return dict(zip((row.id for row in rows), pool.map(ask, rows), strict=True))


def _each(table: str) -> list[Any]:
    return [pytest.param(row, id=row.id) for row in manifest_table.rows(table)]


@pytest.mark.parametrize("row", _each("refused"))
def test_an_invalid_manifest_is_refused_with_the_field_and_the_right_value(
    answers: Answers, row: manifest_table.Row
) -> None:
    answer = answers[row.id]
    assert answer.returncode != 0, answer.stdout
    assert any(_message(line, row) for line in answer.stderr.splitlines()), answer.stderr


def _message(line: str, row: manifest_table.Row) -> bool:
    names_field = re.search(rf"(^|[^\w.]){re.escape(row.field)}([^\w.]|$)", line) is not None
    return names_field and all(words in line for words in row.says)


@pytest.mark.parametrize("row", _each("accepted"))
def test_an_unusual_but_valid_manifest_is_accepted(answers: Answers, row: manifest_table.Row) -> None:
    answer = answers[row.id]
    assert answer.returncode == 0, answer.stderr
    spec.ModelDeploymentSpec.model_validate(json.loads(answer.stdout)["spec"])


def test_the_rows_have_unique_names() -> None:
    names = [row.id for table in ("refused", "accepted") for row in manifest_table.rows(table)]
    assert len(names) == len(set(names))
