from __future__ import annotations

import json
import pathlib
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from fairlead_operator.api import crd, names, rules, spec

ALLOWED = {
    *("description", "type", "format", "enum", "minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems"),
    *("pattern", "required", "default", "properties", "items", rules.VALIDATIONS, rules.INT_OR_STRING),
    *("x-kubernetes-list-type", "x-kubernetes-list-map-keys", "additionalProperties", "maxProperties"),
}


KINDS = tuple(crd.custom_resource_definitions())


def _root(plural: str) -> dict[str, Any]:
    definition = crd.custom_resource_definitions()[plural]
    schema: dict[str, Any] = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return schema


def _walk(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    yield path, schema
    for name, value in schema.get("properties", {}).items():
        yield from _walk(value, f"{path}.{name}")
    if "additionalProperties" in schema:
        yield from _walk(schema["additionalProperties"], f"{path}.*")
    if "items" in schema:
        yield from _walk(schema["items"], f"{path}[]")


@pytest.mark.parametrize("plural", KINDS)
def test_the_schema_is_structural(plural: str) -> None:
    for path, schema in _walk(_root(plural)):
        assert set(schema) <= ALLOWED, path
        assert ("type" in schema) != (rules.INT_OR_STRING in schema), path


@pytest.mark.parametrize("plural", KINDS)
def test_every_field_of_the_spec_is_explained(plural: str) -> None:
    for path, schema in _walk(_root(plural)["properties"]["spec"], "spec"):
        assert path.endswith("[]") or len(schema.get("description", "")) > 10, path


def test_no_default_is_left_to_the_api_server_but_what_scale_and_health_checks_need() -> None:
    unseen = {".status": {"observedGeneration": 0}}
    assert {path: schema["default"] for path, schema in _walk(_root(names.PLURAL)) if "default" in schema} == {
        ".spec.scaling": {},
        ".spec.scaling.replicas": spec.Scaling().replicas,
        **unseen,
    }
    assert {p: schema["default"] for p, schema in _walk(_root(names.CLASS_PLURAL)) if "default" in schema} == unseen
    assert not [path for path, schema in _walk(_root(names.ROUTE_PLURAL)) if "default" in schema]


@pytest.mark.parametrize("plural", KINDS)
def test_every_text_and_list_is_bounded(plural: str) -> None:
    for path, schema in _walk(_root(plural)):
        if path in (".apiVersion", ".kind") or "enum" in schema or schema.get("format") == "date-time":
            continue
        assert schema.get("type") != "string" or "maxLength" in schema, path
        assert schema.get("type") != "array" or "maxItems" in schema, path


@pytest.mark.parametrize("plural", KINDS)
def test_no_bound_is_beyond_what_the_api_server_holds_exactly(plural: str) -> None:
    """It keeps bounds as 64-bit floats: with 2**63 - 1 it refused every status that had the field at all."""
    for path, schema in _walk(_root(plural)):
        assert schema.get("maximum", 0) <= 2**53, path


@pytest.mark.parametrize("plural", KINDS)
def test_no_text_of_the_spec_is_refused_by_a_bare_pattern(plural: str) -> None:
    assert [path for path, schema in _walk(_root(plural)["properties"]["spec"]) if "pattern" in schema] == []


@pytest.mark.parametrize("plural", KINDS)
def test_every_rule_says_what_would_be_right(plural: str) -> None:
    for path, schema in _walk(_root(plural)):
        for rule in schema.get(rules.VALIDATIONS, []):
            assert len(rule["message"]) > 20, path
            assert "\n" not in rule["message"], path


@pytest.mark.parametrize("plural", KINDS)
def test_client_side_apply_can_keep_it_in_an_annotation(plural: str) -> None:
    kept = json.dumps(yaml.safe_load(crd.render(plural)), separators=(",", ":"))  # as kubectl keeps it
    assert len(kept) < 128 * 1024  # the limit is 256 KiB for all annotations


def test_check_reports_an_outdated_file(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    for folder in (*crd.FOLDERS, crd.REFERENCE.parent):
        (tmp_path / folder).mkdir(parents=True)
    root = ["--root", str(tmp_path)]
    assert crd.main(["--check", *root]) == 1
    assert "python -m fairlead_operator.api.crd" in capsys.readouterr().err
    assert crd.main(root) == 0
    assert crd.main(["--check", *root]) == 0
    file = tmp_path / crd.FOLDERS[0] / "modelroutes.yaml"
    file.write_text(file.read_text() + "# by hand\n")
    assert crd.main(["--check", *root]) == 1
