"""The shipped rules, and what promtool makes of series that a test gives."""

from __future__ import annotations

import functools
import json
import re
import subprocess
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from tests.support import prometheus_binary

ROOT = Path(__file__).parents[2]
RULES = ROOT / "charts" / "fairlead" / "files" / "monitoring" / "rules.yaml"
CASES = ROOT / "tests" / "data" / "monitoring" / "alerts.yaml"


@functools.cache
def rules() -> tuple[Mapping[str, Any], ...]:
    return tuple(rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"])


def alerts() -> tuple[Mapping[str, Any], ...]:
    return tuple(rule for rule in rules() if "alert" in rule)


def cases() -> Mapping[str, Mapping[str, Any]]:
    return dict(yaml.safe_load(CASES.read_text()))


def promtool(*arguments: str) -> subprocess.CompletedProcess[str]:
    program = str(prometheus_binary.obtain(prometheus_binary.PROMTOOL))
    return subprocess.run([program, *arguments], capture_output=True, text=True, check=False, timeout=600)


def groups_for(alert: str) -> frozenset[str]:
    """The names of the groups that an alert needs: its own, and those that record what its expression asks for."""
    groups = yaml.safe_load(RULES.read_text())["groups"]
    needed = {each["name"] for each in groups if any(rule.get("alert") == alert for rule in each["rules"])}
    while True:
        rules = [rule for each in groups if each["name"] in needed for rule in each["rules"]]
        asked = {name for rule in rules for name in names_in(rule["expr"])}
        found = {each["name"] for each in groups if any(rule.get("record") in asked for rule in each["rules"])}
        if found <= needed:
            return frozenset(needed)
        needed |= found


def run_cases(
    folder: Path,
    tests: Sequence[Mapping[str, Any]],
    *,
    groups: Collection[str] | None = None,
    interval: str | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run promtool's unit tests over the shipped rules, or over some groups of them, evaluated at another interval.

    Every rule is evaluated at every interval of a test, so fewer groups take less time.
    """
    rules = RULES
    if groups is not None:
        found = [each for each in yaml.safe_load(RULES.read_text())["groups"] if each["name"] in groups]
        assert len(found) == len(groups), groups
        rules = folder / "rules.yaml"
        changed = [each | ({"interval": interval} if interval else {}) for each in found]
        rules.write_text(json.dumps({"groups": changed}))
    path = folder / "rules_test.yaml"
    path.write_text(json.dumps({"rule_files": [str(rules)], "evaluation_interval": "1m", "tests": list(tests)}))
    return promtool("test", "rules", str(path))


def case(alert: str, given: Mapping[str, Any], *, is_firing: bool) -> Mapping[str, Any]:
    """A unit test of promtool: one alert fires with exactly these labels, or none of its name does."""
    severity = next(rule["labels"]["severity"] for rule in alerts() if rule["alert"] == alert)
    query = {
        "expr": f'ALERTS{{alertname="{alert}",alertstate="firing"}}',
        "eval_time": given["at"],
        "exp_samples": [],
    }
    if is_firing:
        labels = {"alertname": alert, "alertstate": "firing", "severity": severity, **given["labels"]}
        pairs = ",".join(f'{name}="{value}"' for name, value in labels.items())
        query["exp_samples"] = [{"labels": f"ALERTS{{{pairs}}}", "value": 1}]
    series = [{"series": name, "values": str(values)} for name, values in given["series"].items()]
    return {
        "name": f"{alert}: {given.get('why', 'it fires')}",
        "interval": "1m",
        "input_series": series,
        "promql_expr_test": [query],
    }


def names_in(expression: str) -> frozenset[str]:
    """The metrics that an expression asks for, ours and recorded ones."""
    return frozenset(re.findall(r"\bfairlead[a-zA-Z0-9_:]+", expression))


def anchor(heading: str) -> str:
    """A heading's anchor, as Git hosts make it."""
    return re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-")
