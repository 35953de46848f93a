"""Ordinary models that others' bug reports are about: each is loaded as it was saved, and answers as it did there."""

from __future__ import annotations

import io
import json
import resource
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from fairlead_runtime.errors import LoadError, LoadReason
from fairlead_runtime.model import loader, predictor_frozen
from fairlead_runtime.model.bounds import Bounds
from fairlead_runtime.model.predictor import LoadedModel
from fairlead_runtime.model.signature import DType

BOUNDS = Bounds(bytes_max=10**9)
ROW = np.array([[0.0, 51.0, 102.0, 255.0]], np.float32)
FLOATS = tf.TensorSpec([None, 4], tf.float32, "x")


def load(path: Path) -> LoadedModel:
    return loader.load(path, None, None, BOUNDS, threads=1)


def refused(path: Path) -> LoadError:
    with pytest.raises(LoadError) as error:
        load(path)
    return error.value


def answer(model: LoadedModel, **inputs: Any) -> dict[str, Any]:
    given = tuple(np.asarray(inputs[spec.name]) for spec in model.signature.inputs)
    names = [spec.name for spec in model.signature.outputs]
    return dict(zip(names, model.predictor(given), strict=True))


def saved(module: tf.Module, folder: Path, function: Any) -> Path:
    tf.saved_model.save(module, str(folder), signatures=function)
    return folder


# Types


@pytest.mark.parametrize("dtype", [tf.float16, tf.bfloat16])
def test_half_precision_at_the_edges_of_a_saved_model_is_served(tmp_path: Path, dtype: Any) -> None:
    module = tf.Module()
    module.weights = tf.Variable(tf.ones([2, 3], dtype))

    @tf.function(input_signature=[tf.TensorSpec([None, 2], dtype, "x")])
    def serve(x: Any) -> Any:
        return {"y": x @ module.weights, "same": tf.cast(x, tf.float32)}

    model = load(saved(module, tmp_path / "model", serve))
    seen = DType.FLOAT32 if dtype == tf.bfloat16 else DType.FLOAT16
    assert [spec.dtype for spec in (*model.signature.inputs, *model.signature.outputs)] == [seen, DType.FLOAT32, seen]
    assert model.kind == "frozen"
    found = answer(model, x=np.array([[1.5, -2.0], [0.25, 0.5]], seen.numpy))
    assert found["y"].tolist() == [[-0.5] * 3, [0.75] * 3]
    assert found["same"].tolist() == [[1.5, -2.0], [0.25, 0.5]]
    assert {name: array.dtype for name, array in found.items()} == {"y": seen.numpy, "same": np.float32}


def test_a_keras_file_of_mixed_bfloat16_is_served(tmp_path: Path) -> None:
    inputs = keras.Input((2,), name="x")
    outputs = keras.layers.Dense(1, kernel_initializer="ones", dtype="mixed_bfloat16")(inputs)
    keras.Model(inputs, outputs).save(tmp_path / "model.keras")
    model = load(tmp_path / "model.keras")
    assert [spec.dtype for spec in model.signature.outputs] == [DType.FLOAT32]
    assert answer(model, x=np.array([[1.5, -2.0]], np.float32))["output_0"].tolist() == [[-0.5]]


def test_a_type_that_cannot_be_served_is_named_and_the_model_is_not_called_corrupt(tmp_path: Path) -> None:
    module = tf.Module()
    waves = tf.function(lambda x: {"y": tf.cast(x, tf.complex64)}, input_signature=[FLOATS])
    error = refused(saved(module, tmp_path / "model", waves))
    assert error.reason is LoadReason.MODEL_UNSUPPORTED
    assert "the tensor 'y' has the type DT_COMPLEX64, which can't be served" in str(error)


def test_a_variable_whose_size_is_not_known_is_not_copied_into_a_graph(tmp_path: Path) -> None:
    """The copy of one of more than 2 GiB would end the start: no message of Protobuf holds it."""
    module = tf.Module()
    module.weights = tf.Variable(tf.ones([4, 2]), shape=tf.TensorShape([4, None]))
    function = tf.function(lambda x: {"y": x @ module.weights}, input_signature=[FLOATS])
    model = load(saved(module, tmp_path / "model", function))
    assert model.kind == "function (the size of a variable is not known)"
    assert answer(model, x=ROW)["y"].tolist() == [[408.0, 408.0]]


def test_a_model_that_fills_in_missing_values_gets_them(tmp_path: Path) -> None:
    filling = tf.function(lambda x: {"y": tf.where(tf.math.is_nan(x), 7.0, x)}, input_signature=[FLOATS])
    model = load(saved(tf.Module(), tmp_path / "model", filling))
    assert answer(model, x=np.array([[1, np.nan, -np.inf, 4]], np.float32))["y"].tolist() == [[1, 7, -np.inf, 4]]


def test_of_two_graphs_to_serve_the_one_for_any_device_is_served(tmp_path: Path) -> None:
    function = tf.function(lambda x: {"y": x + 1.0}, input_signature=[FLOATS])
    folder = saved(tf.Module(), tmp_path / "model", function)
    file = folder / "saved_model.pb"
    proto = saved_model_pb2.SavedModel.FromString(file.read_bytes())
    proto.meta_graphs.add().CopyFrom(proto.meta_graphs[0])
    proto.meta_graphs[0].meta_info_def.tags.append("gpu")
    file.write_bytes(proto.SerializeToString())
    assert answer(load(folder), x=ROW)["y"].tolist() == (ROW + 1.0).tolist()


# Operations

COMPUTED: dict[str, Callable[[Any], Any]] = {
    "log": lambda x: tf.math.log(x + 1.0),
    "transposed convolution": lambda x: tf.nn.conv2d_transpose(
        tf.reshape(x, [-1, 2, 2, 1]), tf.ones([3, 3, 1, 1]), tf.stack([tf.shape(x)[0], 4, 4, 1]), 2
    ),
    "spectrogram": lambda x: tf.raw_ops.AudioSpectrogram(input=tf.transpose(x), window_size=2, stride=1),
    "a gradient within the model": lambda x: tf.gradients(tf.math.sigmoid(x), x)[0],
    "checked numbers": lambda x: tf.debugging.check_numerics(x, "must be finite"),
    "random numbers": lambda x: x * 0.0 + tf.random.poisson([], 2.0) * 0.0,
}


@pytest.mark.parametrize("name", COMPUTED)
def test_what_only_computes_is_allowed(tmp_path: Path, name: str) -> None:
    module = tf.Module()

    @tf.function(input_signature=[FLOATS])
    def call(x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"y": COMPUTED[name](x)}

    module.call = call
    model = load(saved(module, tmp_path / "model", call))
    assert np.allclose(answer(model, x=ROW)["y"], call(tf.constant(ROW))["y"])


def test_what_is_never_run_may_be_anything(tmp_path: Path) -> None:
    folder = saved_doubling(tmp_path)
    graph = read(folder)
    unreached = graph.meta_graphs[0].graph_def.library.function.add()
    unreached.signature.name = "for_another_device"
    unreached.node_def.add(name="a", op="Abort")
    write(folder, graph)
    assert answer(load(folder), x=ROW)["y"].tolist() == (ROW * 2).tolist()


def test_a_function_that_may_replace_a_reached_one_counts_as_reached(tmp_path: Path) -> None:
    folder = saved_doubling(tmp_path)
    graph = read(folder)
    functions = graph.meta_graphs[0].graph_def.library.function
    for function in functions:
        function.attr["api_implements"].s = b"the same"
    other = functions.add()
    other.signature.name = "another"
    other.attr["api_implements"].s = b"the same"
    other.node_def.add(name="w", op="WriteFile")
    write(folder, graph)
    assert "WriteFile" in refused(folder).sentence


def saved_doubling(tmp_path: Path) -> Path:
    module = tf.Module()

    @tf.function(input_signature=[FLOATS])
    def call(x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"y": x * 2.0}

    module.call = call
    return saved(module, tmp_path / "doubling", call)


def read(folder: Path) -> Any:
    graph = saved_model_pb2.SavedModel()
    graph.ParseFromString((folder / "saved_model.pb").read_bytes())
    return graph


def write(folder: Path, graph: Any) -> None:
    (folder / "saved_model.pb").write_bytes(graph.SerializeToString())


@pytest.mark.parametrize("collection", ["table_initializer", "local_init_op", None])
def test_all_of_a_model_of_tensorflow_1_counts_as_reached(tmp_path: Path, collection: str | None) -> None:
    # Without an object graph, collections of the file name what is run on loading.
    folder = saved_doubling(tmp_path)
    graph = read(folder)
    meta_graph = graph.meta_graphs[0]
    meta_graph.ClearField("object_graph_def")
    meta_graph.graph_def.node.add(name="evil", op="WriteFile", input=["a", "b"])
    if collection is not None:
        meta_graph.collection_def[collection].node_list.value.append("evil")
    write(folder, graph)
    assert "WriteFile" in refused(folder).sentence


def test_a_graph_beside_others_counts_as_one_of_tensorflow_1(tmp_path: Path) -> None:
    # TensorFlow ignores the object graph where a SavedModel has several graphs.
    folder = saved_doubling(tmp_path)
    graph = read(folder)
    graph.meta_graphs[0].graph_def.node.add(name="evil", op="WriteFile", input=["a", "b"])
    graph.meta_graphs.add().meta_info_def.tags.append("train")
    write(folder, graph)
    assert "WriteFile" in refused(folder).sentence


# Tables from files


class Cities(tf.Module):
    """Numbers cities by a vocabulary in its assets."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.asset = tf.saved_model.Asset(str(file))
        rows = tf.lookup.TextFileInitializer(
            self.asset, tf.string, tf.lookup.TextFileIndex.WHOLE_LINE, tf.int64, tf.lookup.TextFileIndex.LINE_NUMBER
        )
        self.table = tf.lookup.StaticHashTable(rows, -1)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "city")])
    def call(self, city: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"number": self.table.lookup(city)}


@pytest.fixture
def cities(tmp_path: Path) -> Path:
    file = tmp_path / "cities.txt"
    file.write_text("Basel\nBern\n")
    module = Cities(file)
    folder = saved(module, tmp_path / "cities", module.call)
    file.unlink()
    return folder


def test_a_table_may_be_filled_from_the_models_own_file(cities: Path) -> None:
    found = answer(load(cities), city=np.array([b"Bern", b"nowhere"], object))
    assert found["number"].tolist() == [1, -1]


def test_an_asset_outside_of_the_models_folder_is_refused(cities: Path) -> None:
    graph = read(cities)
    for asset in graph.meta_graphs[0].asset_file_def:
        asset.filename = "../../cities.txt"
    write(cities, graph)
    error = refused(cities)
    assert (error.reason, "outside of the model's folder" in error.sentence) == (LoadReason.UNSAFE_MODEL, True)


def initializer(graph: Any) -> Any:
    (found,) = (
        function
        for function in graph.meta_graphs[0].graph_def.library.function
        if any(node.op == "InitializeTableFromTextFileV2" for node in function.node_def)
    )
    return found


def bind_to_a_constant(graph: Any) -> None:
    """The function is given another captured value in place of the asset."""
    objects = graph.meta_graphs[0].object_graph_def
    objects.concrete_functions[initializer(graph).signature.name].bound_inputs[0] = 0


def compute_the_path(graph: Any) -> None:
    """The body joins a path of its own."""
    function = initializer(graph)
    function.node_def.add(name="joined", op="StringJoin", input=[function.signature.input_arg[0].name])
    (node,) = (node for node in function.node_def if node.op == "InitializeTableFromTextFileV2")
    node.input[1] = "joined:output:0"


def call_it_from_another_function(graph: Any) -> None:
    """Another function calls it, with a path of its own."""
    other = graph.meta_graphs[0].graph_def.library.function.add()
    other.signature.name = "other"
    other.node_def.add(name="path", op="Const")
    call = other.node_def.add(name="more", op="StatefulPartitionedCall", input=["path:output:0"])
    call.attr["f"].func.name = initializer(graph).signature.name


def offer_it_in_place_of_another(graph: Any) -> None:
    """TensorFlow may run it with the arguments of another function that implements the same."""
    initializer(graph).attr["api_implements"].s = b"the same"


def fill_it_in_the_graph(graph: Any) -> None:
    """A node of the graph fills the table: its path could be fed."""
    nodes = graph.meta_graphs[0].graph_def.node
    nodes.add(name="fill", op="InitializeTableFromTextFileV2", input=["hash_table", "asset_path_initializer"])
    (signature,) = (each for name, each in graph.meta_graphs[0].signature_def.items() if name == "serving_default")
    (node,) = (node for node in nodes if node.name == signature.outputs["number"].name.partition(":")[0])
    node.input.append("^fill")


def leave_out_its_path(graph: Any) -> None:
    (node,) = (node for node in initializer(graph).node_def if node.op == "InitializeTableFromTextFileV2")
    del node.input[1:]


def bind_to_nothing(graph: Any) -> None:
    objects = graph.meta_graphs[0].object_graph_def
    objects.concrete_functions[initializer(graph).signature.name].bound_inputs[0] = 10_000


@pytest.mark.parametrize(
    "change",
    [
        bind_to_a_constant,
        bind_to_nothing,
        compute_the_path,
        leave_out_its_path,
        call_it_from_another_function,
        offer_it_in_place_of_another,
        fill_it_in_the_graph,
    ],
)
def test_a_table_from_any_other_file_is_refused(cities: Path, change: Callable[[Any], None]) -> None:
    graph = read(cities)
    change(graph)
    write(cities, graph)
    error = refused(cities)
    assert (error.reason, "no asset of the model" in error.sentence) == (LoadReason.UNSAFE_MODEL, True)


# Keras files


def keras_file(tmp_path: Path, model: Any) -> Path:
    path = tmp_path / "model.keras"
    model.save(path)
    return path


def test_arithmetic_between_layers_is_loaded(tmp_path: Path) -> None:
    pixels = keras.Input((4,), name="pixels")
    scaled = pixels / 255.0
    joined = keras.ops.concatenate([scaled[:, :2], keras.ops.relu(scaled - 0.5)], axis=1)
    model = keras.Model(pixels, keras.layers.Dense(2)(joined))
    found = answer(load(keras_file(tmp_path, model)), pixels=ROW)
    assert np.allclose(found["output_0"], model(ROW), atol=1e-5)


def test_an_operation_that_runs_functions_is_refused(tmp_path: Path) -> None:
    numbers = keras.Input((4,), name="x")
    path = keras_file(tmp_path, keras.Model(numbers, keras.ops.square(numbers)))
    with zipfile.ZipFile(path) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    files["config.json"] = (
        files["config.json"].replace(b"keras.src.ops.numpy", b"keras.src.ops.core").replace(b"Square", b"Map")
    )
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    error = refused(path)
    assert (error.reason, "keras.src.ops.core.Map" in error.sentence) == (LoadReason.UNSAFE_MODEL, True)


def test_a_dict_of_inputs_is_passed_by_name(tmp_path: Path) -> None:
    # Not in the order of the alphabet.
    user, item = keras.Input((2,), name="user"), keras.Input((2,), name="item")
    model = keras.Model({"user": user, "item": item}, keras.layers.Subtract()([user, item]))
    found = answer(load(keras_file(tmp_path, model)), user=np.float32([[5, 7]]), item=np.float32([[1, 2]]))
    assert found["output_0"].tolist() == [[4, 5]]


def test_named_outputs_keep_their_names_in_both_forms(tmp_path: Path) -> None:
    numbers = keras.Input((4,), name="x")
    double, total = keras.layers.Rescaling(2.0)(numbers), keras.ops.sum(numbers, axis=1)
    model = keras.Model(numbers, {"total": total, "doubled": double})
    model.export(str(tmp_path / "exported"), verbose=False)
    by_file = answer(load(keras_file(tmp_path, model)), x=ROW)
    exported = load(tmp_path / "exported")
    by_folder = answer(exported, **{exported.signature.inputs[0].name: ROW})
    assert by_file.keys() == by_folder.keys() == {"doubled", "total"}
    assert all(np.allclose(by_file[name], by_folder[name]) for name in by_file)


def text_model(vocabulary: Any) -> Any:
    texts = keras.Input((1,), dtype="string", name="text")
    layer = keras.layers.TextVectorization(output_sequence_length=4, vocabulary=vocabulary)
    return keras.Model(texts, layer(texts))


def test_text_layers_with_their_vocabulary_are_loaded(tmp_path: Path) -> None:
    model = load(keras_file(tmp_path, text_model(["good", "bad"])))
    found = answer(model, text=np.array([[b"good bad words"]], object))
    assert found["output_0"].tolist() == [[2, 3, 1, 0]]


def test_a_text_layer_that_names_a_file_is_refused(tmp_path: Path) -> None:
    path = keras_file(tmp_path, text_model(["good", "bad"]))
    with zipfile.ZipFile(path) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(files["config.json"])
    for layer in config["config"]["layers"]:
        if layer["class_name"] == "TextVectorization":
            layer["config"]["vocabulary"] = "/etc/passwd"
    files["config.json"] = json.dumps(config).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    error = refused(path)
    assert (error.reason, "reads its vocabulary from a file" in error.sentence) == (LoadReason.UNSAFE_MODEL, True)


def test_a_layer_that_keras_leaves_without_its_weights_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = keras.Input((4,))
    path = keras_file(tmp_path, keras.Model(pixels, keras.layers.Dense(2)(pixels)))
    honest = keras.saving.load_model

    def load_without(*arguments: Any, **options: Any) -> Any:
        # In Keras' words; no layer of its own has a list of lists of layers.
        warnings.warn("Skipping nested container at 'layers/block/container': no matching group found", stacklevel=2)
        return honest(*arguments, **options)

    monkeypatch.setattr(keras.saving, "load_model", load_without)
    error = refused(path)
    assert (error.reason, "lacks the weights of a layer" in error.sentence) == (LoadReason.MODEL_CORRUPT, True)


def with_weights(path: Path, change: Callable[[Any], None]) -> Path:
    """A Keras file whose file of weights was changed."""
    with zipfile.ZipFile(path) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    content = io.BytesIO(files["model.weights.h5"])
    with h5py.File(content, "r+") as weights:
        change(weights)
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in {**files, "model.weights.h5": content.getvalue()}.items():
            archive.writestr(name, data)
    return path


def kernel_of(weights: Any) -> str:
    found: list[str] = []
    weights.visititems(lambda name, item: found.append(name) if getattr(item, "shape", None) == (4, 2) else None)
    (name,) = found
    return name


def test_weights_in_another_file_of_the_node_are_refused(tmp_path: Path) -> None:
    other = tmp_path / "secret"
    other.write_bytes(np.arange(8, dtype="<f4").tobytes())

    def change(weights: Any) -> None:
        name = kernel_of(weights)
        del weights[name]
        weights.create_dataset(name, (4, 2), dtype="<f4", external=[(str(other), 0, 32)])

    pixels = keras.Input((4,))
    path = keras_file(tmp_path, keras.Model(pixels, keras.layers.Dense(2)(pixels)))
    error = refused(with_weights(path, change))
    assert error.reason in (LoadReason.MODEL_CORRUPT, LoadReason.UNSAFE_MODEL), error.sentence


def test_weights_that_announce_terabytes_are_refused_before_memory_is_taken(tmp_path: Path) -> None:
    def change(weights: Any) -> None:
        name = kernel_of(weights)
        del weights[name]
        weights.create_dataset(name, (10**6, 10**6), dtype="<f4", chunks=(1000, 1000))

    pixels = keras.Input((4,))
    path = keras_file(tmp_path, keras.Model(pixels, keras.layers.Dense(2)(pixels)))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    error = refused(with_weights(path, change))
    assert error.reason in (LoadReason.MODEL_CORRUPT, LoadReason.MODEL_TOO_LARGE), error.sentence
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 512 * 1024, "KiB"


def test_a_file_of_keras_2_is_refused_with_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "old.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata.json", json.dumps({"keras_version": "2.15.0"}))
        archive.writestr(
            "config.json", json.dumps({"module": "keras.src.engine.functional", "class_name": "Functional"})
        )
        archive.writestr("model.weights.h5", b"")
    error = refused(path)
    assert error.reason is LoadReason.MODEL_CORRUPT
    assert error.sentence == "the file was saved by Keras 2.15.0: load it there and export it as a SavedModel"


# Large models


def test_a_model_with_large_variables_is_not_frozen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = tf.Module()
    module.weights = tf.Variable(tf.ones([4, 8]))

    @tf.function(input_signature=[FLOATS])
    def call(x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"y": x @ module.weights}

    module.call = call
    folder = saved(module, tmp_path / "model", call)
    assert load(folder).kind == "frozen"
    monkeypatch.setattr(predictor_frozen, "FROZEN_BYTES_MAX", 4 * 8 * 4 - 1)
    model = load(folder)
    assert model.kind.startswith("function (its variables take")
    assert answer(model, x=ROW)["y"].shape == (1, 8)
