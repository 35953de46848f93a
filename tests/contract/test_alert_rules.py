"""Each alert fires with the series that it is for and with no others, asks for what is exported, and has a runbook."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tests.support import alert_rules, metrics_reference

ALERTS = alert_rules.alerts()
NAMES = list(dict.fromkeys(str(alert["alert"]) for alert in ALERTS))
"""An alert may have a rule for each window."""
CASES = alert_rules.cases()
RUNBOOK = alert_rules.ROOT / "docs" / "runbook.md"
SEVERITIES = frozenset({"page", "ticket"})
PARTS = ("Means:", "Look:", "Do:")


def test_the_rules_are_valid_for_prometheus() -> None:
    done = alert_rules.promtool("check", "rules", str(alert_rules.RULES))
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_has_a_case_that_fires_and_one_that_does_not() -> None:
    assert sorted(CASES) == sorted(NAMES)
    assert [name for name, given in CASES.items() if not given["quiet"]] == []


@pytest.mark.parametrize("name", CASES)
def test_an_alert_fires_with_its_series_and_stays_quiet_with_others(name: str, tmp_path: Path) -> None:
    given = CASES[name]
    firing = [alert_rules.case(name, each, is_firing=True) for each in (given["fires"], *given.get("also", ()))]
    quiet = [alert_rules.case(name, each, is_firing=False) for each in given["quiet"]]
    done = alert_rules.run_cases(tmp_path, [*firing, *quiet], groups=alert_rules.groups_for(name))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])
def test_an_alert_names_only_labels_that_it_has(alert: dict[str, dict[str, str]]) -> None:
    asked = set(re.findall(r"\$labels\.(\w+)", str(alert["annotations"])))
    assert asked <= CASES[str(alert["alert"])]["fires"]["labels"].keys()
    assert alert["labels"]["severity"] in SEVERITIES
    assert {"summary", "description", "runbook_url"} == alert["annotations"].keys()


def test_rules_ask_only_for_metrics_that_are_exported_or_recorded() -> None:
    recorded = {rule["record"] for rule in alert_rules.rules() if "record" in rule}
    asked = {name for rule in alert_rules.rules() for name in alert_rules.names_in(rule["expr"])}
    assert asked - recorded - metrics_reference.series_names() == set()


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])
def test_an_alert_links_to_its_entry_of_the_runbook(alert: dict[str, dict[str, str]]) -> None:
    page, _, fragment = alert["annotations"]["runbook_url"].partition("#")
    assert page == "docs/runbook.md"
    entries = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", RUNBOOK.read_text(), re.MULTILINE | re.DOTALL))
    assert fragment == alert_rules.anchor(str(alert["alert"]))
    assert [part for part in PARTS if f"**{part}**" not in entries[str(alert["alert"])]] == []


def test_the_runbook_has_no_entry_of_an_alert_that_is_gone() -> None:
    entries = re.findall(r"^## (Fairlead\w+)$", RUNBOOK.read_text(), re.MULTILINE)
    assert entries == NAMES
