"""The files that users get are the ones that the code means."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from tests.support import manifest_table

from fairlead_operator.api import crd, names, rules, spec

ROOT = pathlib.Path(__file__).parents[2]


@pytest.mark.parametrize(("path", "text"), crd.files().items(), ids=str)
def test_each_crd_is_current_here_and_in_the_chart(path: pathlib.Path, text: str) -> None:
    assert (ROOT / path).read_text() == text, "run python -m fairlead_operator.api.crd"


@pytest.mark.parametrize("folder", crd.FOLDERS, ids=str)
def test_every_crd_file_is_generated_by_the_code(folder: pathlib.Path) -> None:
    known = {path for path in crd.files() if path.parent == folder}
    assert {folder / path.name for path in (ROOT / folder).glob("*.yaml")} == known


@pytest.mark.parametrize("plural", crd.custom_resource_definitions())
def test_every_field_has_a_description(plural: str) -> None:
    (version,) = crd.custom_resource_definitions()[plural]["spec"]["versions"]
    fields = dict(_fields(version["schema"]["openAPIV3Schema"], ""))
    assert {".apiVersion", ".metadata", ".spec"} <= fields.keys()
    assert [path for path, field in fields.items() if not field.get("description")] == [".metadata"]


def _fields(schema: dict[str, Any], path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each property at every level with its path, those of the items of a list and of the values of a map too."""
    for name, field in (schema.get("properties") or {}).items():
        yield f"{path}.{name}", field
        yield from _fields(field, f"{path}.{name}")
    for inner in (schema.get("items"), schema.get("additionalProperties")):
        if isinstance(inner, dict):
            yield from _fields(inner, f"{path}[]")


OWN_VALUES = {"create", "name", "image"}
"""Of the chart's `servingClass`: the others are fields of a ServingClass."""


def test_the_values_of_the_chart_describe_each_field_of_a_serving_class() -> None:
    values = json.loads((ROOT / "charts/fairlead/values.schema.json").read_text())["properties"]["servingClass"]
    (version,) = crd.custom_resource_definitions()[names.CLASS_PLURAL]["spec"]["versions"]
    fields = version["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
    wanted = {name: _as_value(field) for name, field in fields.items() if name not in {"default", "image"}}
    wanted["gateway"]["properties"]["image"] = values["properties"]["gateway"]["properties"]["image"]
    assert {name: value for name, value in values["properties"].items() if name not in OWN_VALUES} == wanted


def _as_value(field: dict[str, Any], *, is_whole: bool = True) -> dict[str, Any]:
    """A field as the chart's schema has it. A whole one may lack what is required, as the default values have it."""
    value = {key: field[key] for key in ("description", "type", "enum", "minimum", "maximum") if key in field}
    if rules.INT_OR_STRING in field:
        value["type"] = ["integer", "string"]
    if "items" in field:
        value["items"] = _as_value(field["items"], is_whole=False)
    if "properties" in field:
        value["additionalProperties"] = False
        value |= {"required": field["required"]} if "required" in field and not is_whole else {}
        value["properties"] = {name: _as_value(each, is_whole=False) for name, each in field["properties"].items()}
    elif "additionalProperties" in field:
        value["additionalProperties"] = _as_value(field["additionalProperties"], is_whole=False)
    return value


@pytest.mark.parametrize("path", manifest_table.SAMPLES, ids=lambda path: path.stem)
def test_a_sample_is_short_and_valid(path: pathlib.Path) -> None:
    assert len(path.read_text().splitlines()) <= 15
    spec.ModelDeploymentSpec.model_validate(yaml.safe_load(path.read_text())["spec"])


def test_there_are_samples() -> None:
    assert len(manifest_table.SAMPLES) >= 6
