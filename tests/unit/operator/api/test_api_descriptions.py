"""Every field of the CRD has a description in reference English: ``kubectl explain`` prints these texts."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from tests.architecture import banned_words

from fairlead_operator.api import crd, names

DESCRIPTION_MAX = 600
ANNOTATION_MAX_BYTES = 262_144
"""What ``kubectl apply`` may keep in an annotation. Source: ``TotalAnnotationSizeLimitB`` of Kubernetes."""

Schema = dict[str, Any]


def walk(schema: Schema, path: str) -> Iterator[tuple[str, Schema]]:
    """Each property with its path; the items of a list have the path of the list with ``[]``."""
    for name, inner in schema.get("properties", {}).items():
        yield f"{path}.{name}", inner
        yield from walk(inner, f"{path}.{name}")
    if "properties" in schema.get("items", {}):
        yield f"{path}[]", schema["items"]
        yield from walk(schema["items"], f"{path}[]")


def fields() -> dict[str, Schema]:
    """Those of a ModelDeployment by ``spec`` and ``status``, those of a ModelRoute by ``modelroutes.spec``."""
    found: dict[str, Schema] = {}
    for plural, document in crd.custom_resource_definitions().items():
        root = document["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
        for part in ("spec", "status") if plural == names.PLURAL else ("spec",):
            found |= dict(walk(root["properties"][part], part if plural == names.PLURAL else f"{plural}.{part}"))
    return found


def test_there_are_fields_of_both_parts() -> None:
    assert len(fields()) > 200


def test_every_field_has_a_description() -> None:
    missing = [path for path, schema in fields().items() if not schema.get("description")]
    assert missing == [], "write a docstring below each of these fields in operator/fairlead_operator/api"


def test_a_description_is_whole_sentences_of_bounded_length() -> None:
    for path, schema in fields().items():
        text = schema["description"]
        assert re.match(r"[A-Z`]", text), f"{path} begins in lower case: {text}"
        assert text.endswith("."), f"{path} has no full stop: {text}"
        assert len(text) <= DESCRIPTION_MAX, f"{path} has {len(text)} characters"
        assert "  " not in text and "\n" not in text, f"{path} holds a gap"  # noqa: PT018


def test_a_description_holds_no_banned_word() -> None:
    found = {path: words for path, s in fields().items() if (words := banned_words.in_text(s["description"]))}
    assert found == {}


@pytest.mark.parametrize("part", ["spec", "status"])
def test_a_field_with_a_fixed_default_says_it(part: str) -> None:
    """The values that the models fill in; they stand nowhere else in the CRD."""
    texts = {path: schema["description"] for path, schema in fields().items() if path.startswith(part)}
    named = [path for path, text in texts.items() if "Default: " in text]
    assert all(re.search(r"Default: [^.]+(\.\d+)?", texts[path]) for path in named)
    assert (len(named) > 25) == (part == "spec")


@pytest.mark.parametrize("plural", list(crd.custom_resource_definitions()))
def test_the_crd_fits_the_annotation_of_a_plain_apply(plural: str) -> None:
    document = yaml.safe_load(crd.render(plural))
    assert len(json.dumps(document, separators=(",", ":")).encode()) < ANNOTATION_MAX_BYTES
