"""The call that every server makes: the frozen graph of a SavedModel with one input and one output, in this thread.

It is Fairlead's own way to call a small model (``docs/runtime.md``), written out once more without Fairlead, so that
the servers are compared and not the ways to call TensorFlow.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

DATATYPES = {"float32": "FP32", "int32": "INT32"}


class FastCall:
    """Takes and gives an array of ``[rows, …]``; its thread is the one that calls. Raises TensorFlow's errors."""

    def __init__(self, saved_model: Path | str) -> None:
        import tensorflow as tf
        from tensorflow.python.framework import convert_to_constants

        # The model owns the variables of its functions: it has to live until they are frozen.
        model = tf.saved_model.load(str(saved_model))
        function = model.signatures["serving_default"]
        ((self.input_name, given),) = function.structured_input_signature[1].items()
        (self.output_name,) = function.structured_outputs
        self.dtype = np.dtype(given.dtype.as_numpy_dtype)
        self.datatype = DATATYPES[self.dtype.name]
        self.input_shape = tuple(given.shape)
        self.output_shape = tuple(function.structured_outputs[self.output_name].shape)
        try:
            frozen = convert_to_constants.convert_variables_to_constants_v2(function, lower_control_flow=False)
        except ValueError:
            # A model that writes to a variable, as the LSTM does, can't be frozen: Fairlead calls its signature too.
            self._model = model
            self._call = lambda rows: (function(**{self.input_name: tf.constant(rows)})[self.output_name].numpy(),)
        else:
            self._call = self._open(tf.compat.v1, frozen)

    def _open(self, v1: Any, frozen: Any) -> Any:
        from tensorflow.core.protobuf import config_pb2

        graph = v1.Graph()
        with graph.as_default():
            v1.import_graph_def(frozen.graph.as_graph_def(), name="")
        config = v1.ConfigProto(intra_op_parallelism_threads=1, inter_op_parallelism_threads=1)
        config.experimental.executor_type = "SINGLE_THREADED_EXECUTOR"
        self._session = v1.Session(graph=graph, config=config)
        options = config_pb2.CallableOptions(feed=[frozen.inputs[0].name], fetch=[frozen.outputs[0].name])
        options.run_options.inter_op_thread_pool = -1
        return self._session._make_callable_from_options(options)

    def __call__(self, rows: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        (answer,) = self._call(rows)
        return np.asarray(answer)
