from __future__ import annotations

import ast
import inspect
import re

import pytest

from fairlead_operator.state import reasons

ENUMS = [node for node in ast.parse(inspect.getsource(reasons)).body if isinstance(node, ast.ClassDef)]


@pytest.mark.parametrize("enum", ENUMS, ids=lambda node: node.name)
def test_every_reason_is_explained_by_one_sentence(enum: ast.ClassDef) -> None:
    for member, sentence in zip(enum.body, enum.body[1:], strict=False):
        if not isinstance(member, ast.Assign):
            continue
        assert isinstance(sentence, ast.Expr), ast.unparse(member)
        text = ast.literal_eval(sentence.value)
        assert text.endswith("."), text
        assert "\n" not in text


def test_reasons_are_single_words_as_the_api_server_asks() -> None:
    assert all(re.fullmatch(r"[A-Z][A-Za-z]+", reason) for reason in reasons.Reason)
    assert len({*reasons.Reason}) == len([*reasons.Reason])
