"""Makes small real models, good and bad, in the folder given as argument; run as a process of its own."""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

FLOATS = tf.TensorSpec([None, 4], tf.float32, "x")
STRINGS = tf.TensorSpec([None], tf.string, "s")


class Dense(tf.Module):
    def __init__(self) -> None:
        super().__init__()
        self.w = tf.Variable(np.arange(12, dtype=np.float32).reshape(4, 3) / 10)

    @tf.function(input_signature=[FLOATS])
    def call(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"y": tf.nn.softmax(x @ self.w)}

    @tf.function(input_signature=[FLOATS])
    def total(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"sum": tf.reduce_sum(x, axis=1)}


class Words(tf.Module):
    """A table: strings to numbers; can't be frozen."""

    def __init__(self) -> None:
        super().__init__()
        values = tf.lookup.KeyValueTensorInitializer(tf.constant(["yes", "no"]), tf.constant([1, 2], tf.int64))
        self.table = tf.lookup.StaticHashTable(values, 0)

    @tf.function(input_signature=[STRINGS])
    def call(self, s: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"n": self.table.lookup(s)}


class Counter(tf.Module):
    """State: must not be frozen."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = tf.Variable(0.0)

    @tf.function(input_signature=[FLOATS])
    def call(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"y": x + self.calls.assign_add(1.0)}


class Engines(tf.Module):
    """What a converter may get wrong."""

    def __init__(self) -> None:
        super().__init__()
        self.table = tf.Variable(np.arange(20, dtype=np.float32).reshape(10, 2))
        self.calls = tf.Variable(0, dtype=tf.int64)

    @tf.function(input_signature=[FLOATS])
    def blanks(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        """NaN stands for a number that is missing."""
        return {"y": tf.where(tf.math.is_nan(x), -1.0, x)}

    @tf.function(input_signature=[tf.TensorSpec([None, 3], tf.int32, "ids")])
    def lookup(self, ids: tf.Tensor) -> dict[str, tf.Tensor]:
        """Refuses an index that the table doesn't have; to ONNX -1 is the last one."""
        return {"y": tf.gather(self.table, ids)}

    @tf.function(input_signature=[tf.TensorSpec([None, 3], tf.int32, "ids")])
    def marked(self, ids: tf.Tensor) -> dict[str, tf.Tensor]:
        """Marks no class for an index that doesn't exist; to ONNX -1 is the last class."""
        return {"y": tf.one_hot(ids[:, 0], 5)}

    @tf.function(input_signature=[tf.TensorSpec([None, 3], tf.int32, "ids")])
    def halved(self, ids: tf.Tensor) -> dict[str, tf.Tensor]:
        """Half of -7 is -4; ONNX rounds towards zero."""
        return {"y": ids[:, 0] // 2}

    @tf.function(input_signature=[tf.TensorSpec([None, 3], tf.int32, "ids")])
    def left_over(self, ids: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"y": ids[:, 0] % ids[:, 1]}

    @tf.function(input_signature=[FLOATS])
    def branch(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"y": tf.cond(tf.reduce_sum(x) > 1e9, lambda: x * 2, lambda: x)}

    @tf.function(input_signature=[FLOATS])
    def tired(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        """Counts its calls, and answers otherwise after a thousand."""
        calls = self.calls.read_value()
        self.calls.assign(calls + 1)
        return {"y": tf.where(calls > 1000, x * 2, x)}

    @tf.function(input_signature=[FLOATS])
    def counted(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        """Counts its calls, which no answer shows."""
        self.calls.assign(self.calls.read_value() + 1)
        return {"y": x * 2}

    @tf.function(input_signature=[FLOATS])
    def asserted(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        tf.debugging.assert_less(tf.reduce_sum(x), 1e9)
        return {"y": x}


class Listwise(tf.Module):
    """Its first dimension is free and no batch: the rows of a call are compared with each other, or come out twice."""

    @tf.function(input_signature=[FLOATS])
    def ranked(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"share": tf.nn.softmax(tf.reduce_sum(x, axis=1), axis=0)}

    @tf.function(input_signature=[FLOATS])
    def repeated(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        """A row comes out as often as its first number says, so that the sums of two requests can fit by chance."""
        return {"row": tf.repeat(x[:, 1], tf.maximum(tf.cast(x[:, 0], tf.int32) + 1, 0))}

    @tf.function(input_signature=[FLOATS])
    def rows(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        """For comparison: each row by itself."""
        return {"row": tf.reduce_sum(x * x, axis=1)}

    @tf.function(input_signature=[FLOATS])
    def sorted(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"row": tf.sort(x, axis=0)}

    @tf.function(input_signature=[FLOATS])
    def centred(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"row": x - 0.01 * tf.reduce_mean(x, axis=0)}


class Pixels(tf.Module):
    """Three convolutions over an image of any size: a call of one pixel says nothing of one of a large image."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = [tf.Variable(tf.random.stateless_normal([3, 3, 3, 3], [1, i]) / 5) for i in range(3)]

    @tf.function(input_signature=[tf.TensorSpec([None, None, None, 3], tf.float32, "x")])
    def call(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        for layer in self.layers:
            x = tf.nn.relu(tf.nn.conv2d(x, layer, 1, "SAME"))
        return {"y": tf.reduce_mean(x, axis=[1, 2])}


def bad(operation: object) -> tf.Module:
    """A model that runs `operation` beside its work."""
    module = tf.Module()

    @tf.function(input_signature=[FLOATS])
    def call(x: tf.Tensor) -> dict[str, tf.Tensor]:
        with tf.control_dependencies([operation(x)]):
            return {"y": tf.identity(x)}

    module.call = call
    return module


def hidden(canary: str) -> tf.Module:
    """Reads a file two function calls and one branch deep."""

    @tf.function(input_signature=[FLOATS])
    def inner(x: tf.Tensor) -> tf.Tensor:
        return tf.cond(
            tf.reduce_sum(x) > 1e9,
            lambda: x + tf.cast(tf.strings.length(tf.io.read_file(canary)), tf.float32),
            lambda: x,
        )

    return bad(lambda x: inner(x))


def risky(canary: str) -> dict[str, object]:
    """One operation of each risky family."""
    return {
        "read": lambda x: tf.io.read_file(canary),
        "write": lambda x: tf.io.write_file(canary, "overwritten"),
        "glob": lambda x: tf.io.matching_files("/etc/*"),
        "print": lambda x: tf.print(x, output_stream=f"file://{canary}"),
        "python": lambda x: tf.py_function(lambda v: v, [x], tf.float32),
        "numpy": lambda x: tf.numpy_function(lambda v: v, [x], tf.float32),
        "save": lambda x: tf.raw_ops.SaveV2(prefix=canary, tensor_names=["x"], shape_and_slices=[""], tensors=[x]),
        "restore": lambda x: tf.raw_ops.RestoreV2(
            prefix=canary, tensor_names=["x"], shape_and_slices=[""], dtypes=[tf.float32]
        )[0],
        "dataset": lambda x: tf.raw_ops.TextLineDataset(filenames=canary, compression_type="", buffer_size=0),
        "reader": lambda x: tf.raw_ops.WholeFileReaderV2(),
        "summary": lambda x: tf.raw_ops.SummaryWriter(),
        "proto": lambda x: (
            tf.raw_ops.DecodeProtoV2(
                bytes=tf.constant([b""]), message_type="a", field_names=["b"], output_types=[tf.int32]
            ).sizes
        ),
        "vocabulary": lambda x: tf.raw_ops.InitializeTableFromTextFileV2(
            table_handle=tf.raw_ops.HashTableV2(key_dtype=tf.string, value_dtype=tf.int64),
            filename=canary,
            key_index=-2,
            value_index=-1,
        ),
        "queue": lambda x: tf.raw_ops.FIFOQueueV2(component_types=[tf.float32]),
        "memory_map": lambda x: tf.raw_ops.ImmutableConst(dtype=tf.float32, shape=[1], memory_region_name=canary),
        "collective": lambda x: tf.raw_ops.CollectiveReduce(
            input=x, group_size=1, group_key=1, instance_key=1, merge_op="Add", final_op="Id", subdiv_offsets=[0]
        ),
        "debug": lambda x: tf.raw_ops.DebugIdentityV2(input=x, debug_urls=[f"file://{canary}"]),
    }


def picky() -> tf.Module:
    """Loads, but fails on every input."""
    module = tf.Module()

    @tf.function(input_signature=[FLOATS])
    def call(x: tf.Tensor) -> dict[str, tf.Tensor]:
        tf.debugging.assert_greater(tf.reduce_sum(x), 1e9, message="only huge numbers here")
        return {"y": x}

    module.call = call
    return module


def photos() -> tf.Module:
    """Takes encoded images, as most clients of TensorFlow Serving send them."""
    module = tf.Module()

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "photo")])
    def call(photo: tf.Tensor) -> dict[str, tf.Tensor]:
        def mean(one: tf.Tensor) -> tf.Tensor:
            return tf.reduce_mean(tf.cast(tf.io.decode_jpeg(one, channels=3), tf.float32))

        return {"light": tf.map_fn(mean, photo, fn_output_signature=tf.float32)}

    module.call = call
    return module


def flowers() -> tf.Module:
    """Takes serialized tf.Examples, and one of their features has no default."""
    module = tf.Module()

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "examples")])
    def call(examples: tf.Tensor) -> dict[str, tf.Tensor]:
        read = tf.io.parse_example(examples, {"width": tf.io.FixedLenFeature([2], tf.float32)})
        return {"scores": tf.nn.softmax(read["width"])}

    module.call = call
    return module


def large(side: int) -> tf.Module:
    """Takes an image of one size, whose numbers would not fit a request as JSON."""
    module = tf.Module()

    @tf.function(input_signature=[tf.TensorSpec([None, side, side, 3], tf.uint8, "image")])
    def call(image: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"mean": tf.reduce_mean(tf.cast(image, tf.float32), axis=[1, 2, 3])}

    module.call = call
    return module


def baskets() -> tf.Module:
    """Takes rows of different lengths, as values and the places where rows begin."""
    module = tf.Module()
    values = tf.TensorSpec([None], tf.float32, "values")

    @tf.function(input_signature=[values, tf.TensorSpec([None], tf.int64, "splits")])
    def call(values: tf.Tensor, splits: tf.Tensor) -> dict[str, tf.Tensor]:
        rows = tf.RaggedTensor.from_row_splits(values, splits, validate=False)
        return {"mean": tf.reduce_mean(rows, axis=1)}

    module.call = call
    return module


def headless() -> tf.Module:
    """Loads, but fails by itself on every input: what it needs was never made."""
    module = tf.Module()

    @tf.function(input_signature=[FLOATS])
    def call(x: tf.Tensor) -> dict[str, tf.Tensor]:
        table = tf.raw_ops.HashTableV2(key_dtype=tf.int64, value_dtype=tf.float32, shared_name="nobody fills it")
        found = tf.raw_ops.LookupTableFindV2(
            table_handle=table, keys=tf.cast(x, tf.int64), default_value=tf.constant(0.0)
        )
        return {"y": tf.reshape(found, tf.shape(x))}

    module.call = call
    return module


def save(module: tf.Module, path: Path, **signatures: object) -> None:
    tf.saved_model.save(module, str(path), signatures=signatures or {"serving_default": module.call})


def make_saved_models(root: Path, canary: str) -> None:
    dense = Dense()
    save(dense, root / "dense", serving_default=dense.call, total=dense.total)
    save(Words(), root / "words")
    save(Counter(), root / "counter")
    engines = Engines()
    kinds = (
        *("blanks", "lookup", "marked", "halved", "left_over"),
        *("branch", "tired", "counted", "asserted"),
    )
    save(engines, root / "engines", **{name: getattr(engines, name) for name in kinds})
    listwise = Listwise()
    kinds = {name: getattr(listwise, name) for name in ("ranked", "repeated", "rows", "sorted", "centred")}
    save(listwise, root / "listwise", **kinds)
    save(Pixels(), root / "pixels")
    save(picky(), root / "picky")
    save(headless(), root / "headless")
    save(photos(), root / "photos")
    save(flowers(), root / "flowers")
    save(large(512), root / "large")
    save(large(1024), root / "larger")
    save(large(20_000), root / "huge")
    save(baskets(), root / "baskets")
    save(hidden(canary), root / "bad-hidden")
    for name, operation in risky(canary).items():
        try:
            save(bad(operation), root / f"bad-{name}")
        except (ValueError, TypeError, tf.errors.OpError) as error:
            print(f"{name} can't be made: {error}", file=sys.stderr)


def make_keras_models(root: Path) -> None:
    layers = keras.layers
    model = keras.Sequential([layers.Input((4,), name="x"), layers.Dense(3, activation="softmax")])
    model.save(root / "dense.keras")
    model.save(root / "dense.h5")
    keras.Sequential([layers.Input((4,)), layers.Lambda(lambda x: x + 1)]).save(root / "lambda.keras")
    lstm = keras.Sequential(
        [layers.Input((6,), dtype="int32"), layers.Embedding(20, 4), layers.LSTM(4), layers.Dense(1)]
    )
    lstm.export(root / "lstm", verbose=False)
    tokens = [layers.Input((6,), dtype="int32", name="tokens"), layers.Embedding(20, 4)]
    dropping = layers.LSTM(4, dropout=0.2, recurrent_dropout=0.2)
    keras.Sequential([*tokens, dropping, layers.Dense(1)]).export(root / "lstm-dropout", verbose=False)
    scale = layers.Normalization()
    scale.adapt(np.arange(12, dtype=np.float32).reshape(3, 4))
    keras.Sequential([layers.Input((4,), name="x"), scale, layers.Dense(2, "gelu")]).export(
        root / "normalized", verbose=False
    )
    conv = [layers.Input((8, 8, 1)), layers.Conv2D(2, 3), layers.MaxPooling2D(), layers.Flatten(), layers.Dense(3)]
    keras.Sequential(conv).export(root / "cnn", verbose=False)
    free = [layers.Input((None, None, 1)), layers.Conv2D(4, 3), layers.MaxPooling2D(2), layers.Conv2D(4, 3)]
    keras.Sequential([*free, layers.GlobalAveragePooling2D()]).export(root / "any-size", verbose=False)
    trained = keras.Sequential([layers.Input((4,), name="x"), layers.Dense(3, activation="softmax")])
    trained.compile(optimizer="adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    trained.fit(np.zeros((2, 4)), np.zeros(2), verbose=0)
    trained.save(root / "trained.keras")
    outer = keras.Sequential([layers.Input((4,), name="x"), trained])
    outer.save(root / "trained-inside.keras")
    _change_config(root / "dense.keras", root / "module.keras", b'"keras.layers"', b'"os.path"')
    _change_config(
        root / "dense.keras", root / "registered.keras", b'"registered_name": null', b'"registered_name": "a>B"'
    )


def _change_config(source: Path, target: Path, old: bytes, new: bytes) -> None:
    with zipfile.ZipFile(source) as given, zipfile.ZipFile(target, "w") as changed:
        for info in given.infolist():
            raw = given.read(info)
            changed.writestr(info.filename, raw.replace(old, new) if info.filename == "config.json" else raw)


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    make_saved_models(folder, sys.argv[2])
    make_keras_models(folder)
