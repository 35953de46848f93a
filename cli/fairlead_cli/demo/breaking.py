"""Makes a broken version: files that are not what the manifest's digest says."""

from __future__ import annotations

import pathlib
import shutil

from fairlead_cli.demo import training


def tampered(good: training.Trained, out: pathlib.Path) -> pathlib.Path:
    """A manifest whose model has one byte flipped since its digest was taken; gives the manifest's path."""
    shutil.copytree(good.folder / "saved_model", out / "saved_model")
    victim = out / "saved_model" / "saved_model.pb"
    content = bytearray(victim.read_bytes())
    content[len(content) // 2] ^= 0xFF
    victim.write_bytes(content)
    manifest = out / "manifest.yaml"
    good_uri = (good.folder / "saved_model").resolve().as_uri()
    text = good.manifest.read_text().replace(good_uri, (out / "saved_model").resolve().as_uri())
    manifest.write_text(text.replace("version: v2", "version: v3"))
    return manifest
