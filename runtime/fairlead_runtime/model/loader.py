"""The only place where a model is loaded. What may not run is refused before TensorFlow is imported."""

from __future__ import annotations

import logging
import re
import warnings
from dataclasses import dataclass, replace
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
    widening,
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """A model whose content may be loaded. `signature` is None where only loading shows it (a Keras file).

    `tags` are those of the SavedModel's graph that is served.
    """

    root: Path
    format: ModelFormat
    folder: str | None
    signature: signature.Signature | None
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A model within TensorFlow: `function` takes and gives tensors by name, `owner` keeps its variables alive."""

    function: Any
    signature: signature.Signature
    owner: object


def load(
    path: Path, wanted: ModelFormat | None, signature_name: str | None, bounds: Bounds, *, threads: int
) -> LoadedModel:
    """Loads a SavedModel folder or a `.keras` file into TensorFlow; raises LoadError."""
    checked = check(path, wanted, signature_name, bounds)
    opened = open_checked(checked, signature_name, threads=threads)
    return replace(choose(opened, threads=threads), folder=checked.folder)


def check(path: Path, wanted: ModelFormat | None, signature_name: str | None, bounds: Bounds) -> Checked:
    """Refuses by LoadError what may not be loaded, without TensorFlow."""
    root = find_root(path)
    actual = ModelFormat.SAVED_MODEL if root.is_dir() else ModelFormat.KERAS
    if wanted is not None and wanted is not actual:
        text = (
            f"spec.model.format is {wanted.value}, but the content is of the format {actual.value}: set that, or leave "
            "spec.model.format out"
        )
        raise LoadError(LoadReason.FORMAT_MISMATCH, text)
    read: signature.Signature | None = None
    tags: tuple[str, ...] = ()
    match actual:
        case ModelFormat.SAVED_MODEL:
            read, tags = _check_saved_model(root, signature_name, bounds)
        case ModelFormat.KERAS:
            keras_check.check(root, bounds)
            signature.pick_name([signature.DEFAULT_NAME], signature_name)
    folder = root.name if root.is_dir() and root != path else None
    return Checked(root=root, format=actual, folder=folder, signature=read, tags=tags)


def open_checked(checked: Checked, signature_name: str | None, *, threads: int) -> Opened:
    """Loads it into TensorFlow; raises LoadError."""
    if checked.signature is not None:
        opened = _open_saved_model(checked, checked.signature, threads=threads)
    else:
        name = signature.pick_name([signature.DEFAULT_NAME], signature_name)
        opened = _open_keras(checked.root, name, threads=threads)
    return replace(opened, function=widening.widen(opened.function, opened.signature))


def find_root(path: Path) -> Path:
    """The SavedModel's folder or the Keras file, also one folder down, as archives have it; raises LoadError."""
    if path.is_file():
        with path.open("rb") as file:
            head = file.read(len(HDF5_MAGIC))
        if head == HDF5_MAGIC:
            raise LoadError(
                LoadReason.UNSAFE_MODEL, "the file is HDF5 (.h5), which can contain code; save the model as .keras"
            )
        if not head.startswith(b"PK"):
            text = (
                "the file is neither a .keras file nor an archive: save the model as .keras, or export it as a "
                "SavedModel (model.export, tf.saved_model.save) and let spec.model.uri name its folder"
            )
            raise LoadError(LoadReason.MODEL_CORRUPT, text)
        return path
    entries = sorted(path.iterdir())
    if _is_saved_model(path):
        return path
    below = [entry for entry in entries if entry.is_dir() and _is_saved_model(entry)]
    if below:
        return _pick_version(below)
    keras_files = [entry for entry in entries if entry.is_file() and entry.suffix == ".keras"]
    if len(keras_files) == 1:
        return find_root(keras_files[0])
    if len(entries) == 1 and entries[0].is_file():
        return find_root(entries[0])
    text = (
        "the folder has no saved_model.pb, so it is not a SavedModel: export the model (model.export, "
        "tf.saved_model.save) and let spec.model.uri name that folder"
    )
    raise LoadError(LoadReason.MODEL_CORRUPT, text)


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


def _check_saved_model(
    folder: Path, signature_name: str | None, bounds: Bounds
) -> tuple[signature.Signature, tuple[str, ...]]:
    meta_graph = read_meta_graph(folder)
    allowlist.check(meta_graph, bounds.operations)
    available = [name for name in meta_graph.signature_def if name != signature.INIT_OP]
    name = signature.pick_name(available, signature_name)
    return signature.from_proto(name, meta_graph.signature_def[name]), tuple(sorted(meta_graph.meta_info_def.tags))


def _open_saved_model(checked: Checked, read: signature.Signature, *, threads: int) -> Opened:
    tensorflow_import.import_for_saved_models()
    _configure(threads=threads)
    errors = tensorflow_import.import_part("python.framework.errors_impl")
    try:
        load_folder = tensorflow_import.import_part("python.saved_model.load").load
        owner = load_folder(str(checked.root), tags=list(checked.tags))
        function = owner.signatures[read.name]
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
        why = predictor_function.first_line(error).replace(str(checked.root), "the model's folder")
        if not (checked.root / "variables" / "variables.index").is_file():
            why = "its folder has no variables/variables.index: copy the whole folder"
        text = f"TensorFlow can't load the SavedModel: {why}"
        raise LoadError(LoadReason.MODEL_CORRUPT, text) from None
    return Opened(function=function, signature=read, owner=owner)


def read_meta_graph(folder: Path) -> Any:
    protobuf_error = tensorflow_import.protobuf_error()
    saved_model = tensorflow_import.import_part("core.protobuf.saved_model_pb2").SavedModel()
    try:
        saved_model.ParseFromString((folder / "saved_model.pb").read_bytes())
    except protobuf_error:
        text = (
            "saved_model.pb can't be read as a SavedModel: it is damaged or of another format; copy or export it again"
        )
        raise LoadError(LoadReason.MODEL_CORRUPT, text) from None
    graphs = [graph for graph in saved_model.meta_graphs if SERVE_TAG in graph.meta_info_def.tags]
    if len(graphs) > 1:
        # Others are the same for other devices: TensorFlow Serving takes the one with no further tag.
        graphs = [graph for graph in graphs if set(graph.meta_info_def.tags) == {SERVE_TAG}]
    if len(graphs) != 1:
        text = (
            f"the SavedModel has {len(graphs)} graphs with the tag {SERVE_TAG!r}; exactly one is needed: export the "
            "model for serving"
        )
        raise LoadError(LoadReason.MODEL_CORRUPT, text)
    if len(saved_model.meta_graphs) > 1:
        # TensorFlow then loads the graph as one of TensorFlow 1, so it is checked as one.
        graphs[0].ClearField("object_graph_def")
    return graphs[0]


_SKIPPED_WEIGHTS = "Skipping nested container"
"""Keras' warning of a layer that it leaves with the random numbers of a new one."""
_WITHOUT_WEIGHTS = (
    "the Keras file lacks the weights of a layer that another layer holds in a list or dictionary, as older versions "
    "of Keras wrote it: save the model again with a current Keras, or export it as a SavedModel"
)


def _open_keras(path: Path, name: str, *, threads: int) -> Opened:
    tensorflow = tensorflow_import.import_complete()
    _configure(threads=threads)
    import keras

    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.filterwarnings("always", _SKIPPED_WEIGHTS)
            model = keras.saving.load_model(str(path), custom_objects=None, compile=False, safe_mode=True)
        if any(re.match(_SKIPPED_WEIGHTS, str(each.message)) for each in caught):
            raise LoadError(LoadReason.MODEL_CORRUPT, _WITHOUT_WEIGHTS)
        for each in caught:
            warnings.showwarning(each.message, each.category, each.filename, each.lineno)
        function, read = _keras_function(tensorflow, model, name)
    except _KERAS_ERRORS as error:
        text = f"Keras can't load the file: {predictor_function.first_line(error)}"
        raise LoadError(LoadReason.MODEL_CORRUPT, text) from None
    return Opened(function=function, signature=read, owner=model)


def _keras_function(tensorflow: Any, model: Any, name: str) -> tuple[Any, signature.Signature]:
    """A concrete function of the inputs by name, and its signature; outputs are named as `model.export` names them."""
    import keras

    inputs = {tensor.name: tensorflow.TensorSpec(tensor.shape, tensor.dtype, tensor.name) for tensor in model.inputs}
    # A functional model takes its inputs in the structure that it was made with: a tensor, a list or a dict.
    structure = model.inputs[0] if len(model.inputs) == 1 else model.input

    def call(**tensors: Any) -> dict[str, Any]:
        given = keras.tree.map_structure(lambda tensor: tensors[tensor.name], structure)
        results = model(given, training=False)
        if isinstance(results, dict) and all(hasattr(each, "shape") for each in results.values()):
            return dict(results)
        return {f"output_{i}": result for i, result in enumerate(tensorflow.nest.flatten(results))}

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
    return signature.TensorSpec(name=name, dtype=signature.dtype_by_name(tensor.dtype.name), shape=shape)


def choose(opened: Opened, *, threads: int) -> LoadedModel:
    """The fast way if the model allows it and answers the same, else the general one."""
    function, read = opened.function, opened.signature
    general: Predictor = predictor_function.FunctionPredictor(function, read, opened.owner)
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
