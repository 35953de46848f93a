"""What may be in a `.keras` file: its configuration is read as data, before Keras, and every class is on a list.

Safe mode has been switched off from inside a file before (CVE-2025-9906), so it is the second wall, not the only one.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from fairlead_runtime.errors import LoadError, LoadReason
from fairlead_runtime.model import zip_directory
from fairlead_runtime.model.bounds import Bounds

CONFIG_BYTES_MAX = 8 * 1024 * 1024
DEPTH_MAX = 64
_FILES = frozenset({"config.json", "metadata.json", "model.weights.h5"})
_MODULES = frozenset(
    (
        "keras.layers",
        "keras.initializers",
        "keras.regularizers",
        "keras.constraints",
        "keras.activations",
        "keras.models",
    )
)
_OPERATIONS = frozenset(
    ("keras.src.ops.numpy", "keras.src.ops.nn", "keras.src.ops.math", "keras.src.ops.linalg", "keras.src.ops.image")
)
"""Arithmetic between layers. `keras.src.ops.core` isn't here: some of its operations run functions."""

_CORE_OPERATIONS = frozenset(
    {"Cast", "ConvertToTensor", "Scatter", "ScatterUpdate", "Shape", "Slice", "SliceUpdate", "StopGradient", "Unstack"}
)
_QUANTIZED: Mapping[str, frozenset[str]] = {
    "keras.dtype_policies": frozenset(
        {
            *("DTypePolicy", "DTypePolicyMap", "FloatDTypePolicy", "QuantizedDTypePolicy"),
            *("QuantizedFloat8DTypePolicy", "Int4DTypePolicy", "GPTQDTypePolicy", "AWQDTypePolicy"),
        }
    ),
    "keras.quantizers": frozenset(
        {"AbsMaxQuantizer", "Int8QuantizationConfig", "Int4QuantizationConfig", "Float8QuantizationConfig"}
    ),
}
"""How a quantized layer keeps its numbers: names of types and of ways to round, which run nothing."""
_PLAIN_MODULES = frozenset({"keras", "keras.src.models.functional", "keras.src.models.sequential", "builtins"})
_REFUSED_CLASSES = frozenset({"Lambda", "TFSMLayer", "TorchModuleWrapper", "FlaxLayer", "JaxLayer"})
_FILE_SETTINGS = frozenset({"vocabulary", "idf_weights"})
"""Where text layers take a list, or the path of a file, which would be another file than the model's."""
_BUILTIN_CLASSES = frozenset({"function"})
_PLAIN_KERAS = frozenset({"Functional", "Sequential", "DTypePolicy", "KerasTensor", "Model"})


def check(path: Path, bounds: Bounds) -> None:
    """Raises LoadError if the file isn't a Keras archive, or asks for anything but Keras' own layers."""
    zip_directory.check(path, entries_max=bounds.entries_max)
    try:
        with zipfile.ZipFile(path) as archive:
            _check_entries(archive, bounds, path.stat().st_size)
            _check_version(archive)
            config = _read_config(archive)
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, RecursionError, EOFError) as error:
        raise LoadError(LoadReason.MODEL_CORRUPT, f"the Keras file can't be read: {error}") from None
    for item in _walk(_without_compilation(config), 0):
        _check_item(item)


def _check_entries(archive: zipfile.ZipFile, bounds: Bounds, archive_bytes: int) -> None:
    infos = archive.infolist()
    names = [info.filename for info in infos]
    if not {"config.json", "metadata.json"} <= set(names):
        raise LoadError(
            LoadReason.MODEL_CORRUPT, "the zip has no config.json and metadata.json, so it is not a Keras file"
        )
    strange = [name for name in names if name not in _FILES and not name.startswith("assets/")]
    if strange or len(set(names)) != len(names) or any(".." in name for name in names):
        raise LoadError(
            LoadReason.UNSAFE_MODEL, f"the Keras file holds an unexpected entry {(strange or names)[0][:100]!r}"
        )
    total = sum(info.file_size for info in infos)
    if total > bounds.bytes_max or (total > bounds.ratio_free_bytes and total > archive_bytes * bounds.ratio_max):
        raise LoadError(LoadReason.MODEL_TOO_LARGE, f"the Keras file unpacks to {total} bytes")


def _check_version(archive: zipfile.ZipFile) -> None:
    """Files of Keras 2 have the same form but name classes that Keras 3 doesn't have."""
    with archive.open("metadata.json") as file:
        metadata = json.loads(file.read(CONFIG_BYTES_MAX))
    version = str(metadata.get("keras_version", "")) if isinstance(metadata, dict) else ""
    if version.startswith(("0.", "1.", "2.")):
        text = f"the file was saved by Keras {version[:20]}: load it there and export it as a SavedModel"
        raise LoadError(LoadReason.MODEL_CORRUPT, text)


def _read_config(archive: zipfile.ZipFile) -> object:
    with archive.open("config.json") as file:
        raw = file.read(CONFIG_BYTES_MAX + 1)
    if len(raw) > CONFIG_BYTES_MAX:
        raise LoadError(
            LoadReason.MODEL_TOO_LARGE, f"the Keras file's config.json has more than {CONFIG_BYTES_MAX} bytes"
        )
    config: object = json.loads(raw)
    return config


def _without_compilation(config: object) -> object:
    """The model without how it was trained: with `compile=False` Keras drops that before it reads it.

    Of the outermost model alone; what a model inside of it says of its training is read. Source: keras,
    saving_lib._model_from_config
    """
    if not isinstance(config, dict):
        return config
    return {key: value for key, value in config.items() if key != "compile_config"}


def _walk(value: object, depth: int) -> Iterator[dict[str, object]]:
    if depth > DEPTH_MAX:
        raise LoadError(LoadReason.UNSAFE_MODEL, f"the Keras file's configuration is nested deeper than {DEPTH_MAX}")
    if isinstance(value, dict):
        yield value
        for inner in value.values():
            yield from _walk(inner, depth + 1)
    elif isinstance(value, list):
        for inner in value:
            yield from _walk(inner, depth + 1)


def _check_item(item: dict[str, object]) -> None:
    name = item.get("class_name")
    if not isinstance(name, str):
        return
    module = item.get("module")
    registered = item.get("registered_name")
    is_operation = module in _OPERATIONS or (module == "keras.src.ops.core" and name in _CORE_OPERATIONS)
    is_quantized = isinstance(module, str) and name in _QUANTIZED.get(module, frozenset())
    is_known = module is None or is_operation or is_quantized or module in _PLAIN_MODULES or module in _MODULES
    if name in _REFUSED_CLASSES or name.startswith("__lambda__") or not is_known:
        raise _unsafe_error(f"{module}.{name}" if module else name)
    if module == "builtins" and name not in _BUILTIN_CLASSES:
        raise _unsafe_error(f"builtins.{name}")
    if module == "keras" and name not in _PLAIN_KERAS:
        raise _unsafe_error(f"keras.{name}")
    if isinstance(registered, str) and ">" in registered:
        raise _unsafe_error(registered)
    config = item.get("config")
    if isinstance(config, dict):
        _refuse_files(name, config)


def _refuse_files(layer: str, config: dict[str, object]) -> None:
    for setting in sorted(_FILE_SETTINGS):
        if isinstance(config.get(setting), str):
            text = f"the layer {layer[:50]!r} reads its {setting} from a file: pass the values, or export a SavedModel"
            raise LoadError(LoadReason.UNSAFE_MODEL, text)


def _unsafe_error(what: str) -> LoadError:
    return LoadError(
        LoadReason.UNSAFE_MODEL,
        f"the Keras file asks for {what[:100]!r}; only Keras' own layers without code are loaded from a Keras file: "
        "export the model as a SavedModel (model.export)",
    )
