"""The dashboards ask for what the programs export, and the chart ships them as Grafana's sidecar takes them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.support import alert_rules, chart, dashboards, metrics_reference

EXPORTED = metrics_reference.series_names() | {rule["record"] for rule in alert_rules.rules() if "record" in rule}
ENABLED = "monitoring.dashboards.enabled=true"


def test_there_is_a_dashboard_for_each_program_and_one_for_models() -> None:
    names = [path.stem.removeprefix("fairlead-") for path in dashboards.FILES]
    assert names == ["gateways", "models", "operator", "replicas"]


@pytest.mark.parametrize("path", dashboards.FILES, ids=lambda path: path.stem)
def test_a_dashboard_asks_only_for_metrics_that_are_exported_or_recorded(path: Path) -> None:
    queries = [query for _, query in dashboards.queries(path, rate_interval="5m")]
    asked = {name for query in (*queries, *dashboards.variables(path)) for name in alert_rules.names_in(query)}
    assert asked - EXPORTED - {"fairlead-operator"} == set()
    assert len(queries) >= 12


@pytest.mark.parametrize("path", dashboards.FILES, ids=lambda path: path.stem)
def test_a_dashboard_is_whole(path: Path) -> None:
    board = dashboards.load(path)
    assert board["uid"] == path.stem
    panels = board["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    cells = [
        (x, y)
        for panel in panels
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(set(cells)) == len(cells), "panels lie on each other"
    assert max(x for x, _ in cells) < 24
    assert {panel["datasource"]["uid"] for panel in panels} == {"${datasource}"}
    assert "datasource" in {variable["name"] for variable in board["templating"]["list"]}


def test_the_chart_has_a_config_map_for_each_dashboard_where_it_is_asked_for() -> None:
    def shipped(*values: str) -> dict[str, str]:
        maps = chart.of_kind(chart.render(*values), "ConfigMap")
        return {name: text for each in maps.values() for name, text in each["data"].items() if name.endswith(".json")}

    assert shipped() == {}
    made = shipped(ENABLED)
    assert {name: json.loads(text) for name, text in made.items()} == {
        path.name: json.loads(path.read_text()) for path in dashboards.FILES
    }
    labelled = chart.of_kind(chart.render(ENABLED, "monitoring.dashboards.annotations.grafana_folder=F"), "ConfigMap")
    metadata = labelled["fairlead-models-dashboard"]["metadata"]
    assert (metadata["labels"]["grafana_dashboard"], metadata["annotations"]) == ("1", {"grafana_folder": "F"})
