"""The record of a conversion as it is read: one of this version, and of a size that a conversion writes."""

from __future__ import annotations

from pathlib import Path

from fairlead_runtime.model.onnx import record


def test_a_record_is_read_unless_it_is_too_large_or_none(tmp_path: Path) -> None:
    path = tmp_path / record.NAME
    kept = record.Record(key="k", result=record.Refusal(outcome="NotConverted", why="a reason"))
    path.write_text(kept.model_dump_json())
    assert record.read(path) == kept
    path.write_text(kept.model_dump_json() + " " * record.BYTES_MAX)
    assert record.read(path) is None
    path.write_bytes(b"\xff")
    assert record.read(path) is None
