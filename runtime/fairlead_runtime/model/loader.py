"""The only place where a model is loaded. What may not run is refused before TensorFlow is imported."""

from __future__ import annotations

import logging
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from fairlead_runtime.config import ModelFormat
from fairlead_runtime.errors import LoadError, LoadReason
from fairlead_runtime.model import (
    allowlist,
    keras_check,
    predictor_frozen,
    predictor_function,
    signature,
    tensorflow_import,
)
from fairlead_runtime.model.bounds import Bounds
from fairlead_runtime.model.predictor import InputRefusedError, LoadedModel, ModelFailedError, Predictor

LOG = logging.getLogger(__name__)
SERVE_TAG = "serve"
NAMED_MAX = 5
HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
_KERAS_ERRORS = (
    ValueError,
    TypeError,
    KeyError,
    AttributeError,
    OSError,
    ImportError,
    NotImplementedError,
    RuntimeError,
)


def load(
    path: Path, wanted: ModelFormat | None, signature_name: str | None, bounds: Bounds, *, threads: int
) -> LoadedModel:
    """Loads a SavedModel folder or a `.keras` file; raises LoadError."""
    root = _find_root(path)
    actual = ModelFormat.SAVED_MODEL if root.is_dir() else ModelFormat.KERAS
    if wanted is not None and wanted is not actual:
        text = f"spec.model.format is {wanted.value}, but the content is a {actual.value}"
        raise LoadError(LoadReason.FORMAT_MISMATCH, text)
    match actual:
        case ModelFormat.SAVED_MODEL:
            loaded = _load_saved_model(root, signature_name, threads=threads)
        case ModelFormat.KERAS:
            loaded = _load_keras(root, signature_name, bounds, threads=threads)
    return replace(loaded, folder=root.name if root.is_dir() and root != path else None)


def _find_root(path: Path) -> Path:
    """The SavedModel's folder or the Keras file, also one folder down, as archives have it."""
    if path.is_file():
        with path.open("rb") as file:
            head = file.read(len(HDF5_MAGIC))
        if head == HDF5_MAGIC:
            raise LoadError(
                LoadReason.UNSAFE_MODEL, "the file is HDF5 (.h5), which can contain code; save the model as .keras"
            )
        if not head.startswith(b"PK"):
            raise LoadError(LoadReason.MODEL_CORRUPT, "the file is neither a Keras file nor an archive")
        return path
    entries = sorted(path.iterdir())
    if _is_saved_model(path):
        return path
    below = [entry for entry in entries if entry.is_dir() and _is_saved_model(entry)]
    if below:
        return _pick_version(below)
    if len(entries) == 1 and entries[0].is_file():
        return _find_root(entries[0])
    raise LoadError(LoadReason.MODEL_CORRUPT, "the folder has no saved_model.pb, so it is not a SavedModel")


def _is_saved_model(folder: Path) -> bool:
    return (folder / "saved_model.pb").is_file()


def _pick_version(folders: list[Path]) -> Path:
    """The highest of folders with numbers for names, which is what TensorFlow Serving serves; else the only one.

    Source: https://github.com/tensorflow/serving/blob/master/tensorflow_serving/g3doc/serving_config.md
    """
    numbered = {int(folder.name): folder for folder in folders if re.fullmatch("[0-9]{1,18}", folder.name)}
    if numbered:
        chosen = numbered[max(numbered)]
        if len(folders) > 1:
            LOG.warning("the model has %d version folders; serving version %r", len(folders), chosen.name)
        return chosen
    if len(folders) == 1:
        return folders[0]
    named = ", ".join(repr(folder.name[:64]) for folder in folders[:NAMED_MAX])
    text = f"the folder holds {len(folders)} SavedModels ({named}); let spec.model.uri name one of them"
    raise LoadError(LoadReason.MODEL_CORRUPT, text)


def _load_saved_model(folder: Path, signature_name: str | None, *, threads: int) -> LoadedModel:
    meta_graph = _read_meta_graph(folder)
    allowlist.check(meta_graph)
    available = [name for name in meta_graph.signature_def if name != signature.INIT_OP]
    name = signature.pick_name(available, signature_name)
    read = signature.from_proto(name, meta_graph.signature_def[name])
    tensorflow_import.import_for_saved_models()
    _configure(threads=threads)
    errors = tensorflow_import.import_part("python.framework.errors_impl")
    try:
        owner = tensorflow_import.import_part("python.saved_model.load").load(str(folder), tags=None)
        function = owner.signatures[name]
    except (
        errors.OpError,
        OSError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        RuntimeError,
        IndexError,
    ) as error:
        text = f"TensorFlow can't load the SavedModel: {predictor_function.first_line(error)}"
        raise LoadError(LoadReason.MODEL_CORRUPT, text) from None
    return _choose(function, read, owner, threads=threads)


def _read_meta_graph(folder: Path) -> Any:
    protobuf_error = tensorflow_import.protobuf_error()
    saved_model = tensorflow_import.import_part("core.protobuf.saved_model_pb2").SavedModel()
    try:
        saved_model.ParseFromString((folder / "saved_model.pb").read_bytes())
    except protobuf_error:
        raise LoadError(LoadReason.MODEL_CORRUPT, "saved_model.pb can't be read as a SavedModel") from None
    graphs = [graph for graph in saved_model.meta_graphs if SERVE_TAG in graph.meta_info_def.tags]
    if len(graphs) != 1:
        text = f"the SavedModel has {len(graphs)} graphs with the tag {SERVE_TAG!r}; exactly one is needed"
        raise LoadError(LoadReason.MODEL_CORRUPT, text)
    return graphs[0]


def _load_keras(path: Path, signature_name: str | None, bounds: Bounds, *, threads: int) -> LoadedModel:
    keras_check.check(path, bounds)
    name = signature.pick_name([signature.DEFAULT_NAME], signature_name)
    tensorflow = tensorflow_import.import_complete()
    _configure(threads=threads)
    import keras

    try:
        model = keras.saving.load_model(str(path), custom_objects=None, compile=False, safe_mode=True)
        function, read = _keras_function(tensorflow, model, name)
    except _KERAS_ERRORS as error:
        text = f"Keras can't load the file: {predictor_function.first_line(error)}"
        raise LoadError(LoadReason.MODEL_CORRUPT, text) from None
    return _choose(function, read, model, threads=threads)


def _keras_function(tensorflow: Any, model: Any, name: str) -> tuple[Any, signature.Signature]:
    """A concrete function of the inputs by name, and its signature; outputs are named as `model.export` names them."""
    inputs = {tensor.name: tensorflow.TensorSpec(tensor.shape, tensor.dtype, tensor.name) for tensor in model.inputs}
    order = list(inputs)

    def call(**tensors: Any) -> dict[str, Any]:
        values = [tensors[key] for key in order]
        results = tensorflow.nest.flatten(model(values[0] if len(values) == 1 else values, training=False))
        return {f"output_{i}": result for i, result in enumerate(results)}

    concrete = tensorflow.function(call, autograph=False).get_concrete_function(**inputs)
    outputs = concrete.structured_outputs
    read = signature.Signature(
        name=name,
        method="tensorflow/serving/predict",
        inputs=tuple(_spec(key, inputs[key]) for key in sorted(inputs)),
        outputs=tuple(_spec(key, outputs[key]) for key in sorted(outputs)),
    )
    return concrete, read


def _spec(name: str, tensor: Any) -> signature.TensorSpec:
    shape = None if tensor.shape.rank is None else tuple(tensor.shape.as_list())
    return signature.TensorSpec(name=name, dtype=signature.DType(tensor.dtype.name), shape=shape)


def _choose(function: Any, read: signature.Signature, owner: object, *, threads: int) -> LoadedModel:
    """The fast way if the model allows it and answers the same, else the general one."""
    general: Predictor = predictor_function.FunctionPredictor(function, read, owner)
    try:
        fast = predictor_frozen.freeze(function, read, threads=threads)
        if predictor_frozen.agrees(general, fast, read):
            return LoadedModel(signature=read, predictor=fast, kind="frozen")
        why = "its answers differ"
    except predictor_frozen.CannotFreezeError as error:
        why = str(error)
    except (InputRefusedError, ModelFailedError) as error:
        # The warm-up will say so, in its own place.
        why = f"it fails on an example: {error}"
    return LoadedModel(signature=read, predictor=general, kind=f"function ({why})")


def _configure(*, threads: int) -> None:
    """Threads by what the replica was given; TensorFlow accepts this only before its first call."""
    context = tensorflow_import.import_part("python.eager.context").context()
    if not context._initialized:
        context.intra_op_parallelism_threads = threads
        context.inter_op_parallelism_threads = threads
