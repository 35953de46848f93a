"""What `helm install` prints: what it installed, the next commands, how to check them."""

from __future__ import annotations

import pytest
from tests.support import chart

pytestmark = pytest.mark.timeout(1200)


def test_the_notes_name_what_was_installed_and_the_next_commands() -> None:
    notes = chart.render_notes("operator.replicas=3", "servingClass.name=small")
    lines = [line.strip() for line in notes.splitlines()]
    (operator,) = chart.of_kind(chart.render(), "Deployment")
    assert f"operator        3 replicas in the namespace {chart.SYSTEM}" in lines
    assert "namespaces      all" in lines
    assert "ServingClass    small, which models use unless they name another one" in lines
    assert "kubectl apply --namespace models -f model.yaml" in lines
    assert f"kubectl rollout status deployment/{operator} --namespace {chart.SYSTEM}" in lines
    assert f"helm test fairlead --namespace {chart.SYSTEM}" in lines


def test_the_notes_use_a_namespace_that_the_operator_serves() -> None:
    notes = chart.render_notes("namespaces={shop,search}")
    assert "namespaces      shop, search: models of other namespaces are not served" in notes
    assert "kubectl apply --namespace shop -f model.yaml" in notes


def test_the_notes_ask_for_a_class_where_the_chart_makes_none() -> None:
    assert "none by this chart: a model needs one" in chart.render_notes("servingClass.create=false")
