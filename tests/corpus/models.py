"""All entries, by what they are about."""

from __future__ import annotations

from tests.corpus import functions, keras_models, layers, refusals, texts
from tests.corpus.entry import Entry

GROUPS: dict[str, list[Entry]] = {
    "Layers of Keras": layers.ENTRIES,
    "Keras models": keras_models.ENTRIES,
    "Strings, text and tables": texts.ENTRIES,
    "TensorFlow functions": functions.ENTRIES,
    "Refused": refusals.ENTRIES,
}
ENTRIES = [entry for group in GROUPS.values() for entry in group]
