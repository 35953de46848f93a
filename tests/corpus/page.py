"""docs/models.md: the corpus as a table."""

from __future__ import annotations

import json
from pathlib import Path

from tests.corpus import models
from tests.corpus.entry import Entry

SENTENCES = Path(__file__).with_name("sentences.json")
PAGE = Path(__file__).resolve().parents[2] / "docs" / "models.md"
HEAD = """# Which models are served

Each model below is built, saved and deployed by `tests/corpus`, on the way of a replica: fetch, check, load, warm-up,
then requests over HTTP. A served model gives the answer that Keras or TensorFlow gives by itself, to
`POST /v2/models/NAME/infer` (except for bytes that are no text, which its JSON has no form for) and to
`POST /v1/models/NAME:predict` with `inputs`; also with `instances`, if all inputs and outputs have the same number of
rows. Whatever is not in the table is not tested. Models that are expensive, or of a family that others of the
table stand for, are tested each night, with `.venv/bin/python -m pytest tests/corpus --nightly`.

This page is made from the corpus: `FAIRLEAD_REFRESH=1 .venv/bin/python -m pytest tests/corpus` writes it.
"""


def page() -> str:
    """The whole page."""
    served = [(name, [each for each in group if each.refusal is None]) for name, group in models.GROUPS.items()]
    count = sum(len(group) for _, group in served)
    parts = [HEAD, f"\n## Served: {count} models\n"]
    for name, group in served:
        if group:
            parts.append(f"\n### {name}\n| model | deployed as | notes |\n| --- | --- | --- |\n")
            parts += [f"| {each.name} | {each.form} | {note(each)} |\n" for each in group]
    refused = [each for each in models.ENTRIES if each.refusal is not None]
    parts.append(f"\n## Refused: {len(refused)} models\n")
    parts.append("The reason and the sentence are in the conditions of the ModelDeployment.\n\n")
    parts.append("| model | deployed as | reason | sentence |\n| --- | --- | --- | --- |\n")
    parts += [refused_row(each) for each in refused]
    return "".join(parts)


def note(entry: Entry) -> str:
    """What is particular of a served model."""
    fields = [f"`spec.model.{name}: {value}`" for name, value in entry.source.items()]
    fields += ["with `spec.model.example`"] if entry.example is not None else []
    fields += ["tested each night"] if entry.is_nightly else []
    sharing = {None: [], True: ["requests share calls"], False: ["each request has a call of its own"]}
    return "; ".join([*fields, *sharing[entry.shares]])


def sentences() -> dict[str, str]:
    """The sentence of each refused model, by its name."""
    found: dict[str, str] = json.loads(SENTENCES.read_text())
    return found


def write_sentence(name: str, sentence: str) -> None:
    """Keeps the sentence of one model."""
    SENTENCES.write_text(
        json.dumps(sentences() | {name: sentence}, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    )


def refused_row(entry: Entry) -> str:
    """A row of the table of refused models."""
    assert entry.refusal is not None
    fields = "".join(f", `spec.model.{name}: {value}`" for name, value in entry.source.items())
    fields += f", `spec.model.example: {entry.example}`" if entry.example is not None else ""
    return f"| {entry.name} | {entry.form}{fields} | `{entry.refusal.value}` | {sentences()[entry.name]} |\n"
