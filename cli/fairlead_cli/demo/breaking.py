"""Makes a broken version: content that is not what the manifest's digest says."""

from __future__ import annotations

import json
import pathlib

from fairlead_cli.demo import training


def write_tampered(good: training.Trained, out: pathlib.Path) -> pathlib.Path:
    """A manifest of a model with one byte changed since its digest was taken; gives the manifest's path.

    The ``.keras`` file is taken, which no replica has served: content that a replica's cache holds under its digest
    would be served from there, rightly.
    """
    out.mkdir(parents=True)
    content = bytearray((good.folder / "model.keras").read_bytes())
    content[len(content) // 2] ^= 0xFF
    victim = out / "model.keras"
    victim.write_bytes(content)
    digests = json.loads((good.folder / "training.json").read_text())["digests"]
    text = good.manifest.read_text()
    for old, new in (
        ((good.folder / "saved_model").resolve().as_uri(), victim.resolve().as_uri()),
        (digests["saved_model"], digests["model.keras"]),
        ("version: v2", "version: v3"),
    ):
        text = text.replace(old, new)
    manifest = out / "manifest.yaml"
    manifest.write_text(text)
    return manifest
