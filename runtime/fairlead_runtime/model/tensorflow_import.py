"""How TensorFlow comes into the process: late, and only the parts that run a SavedModel.

`import tensorflow` runs the public API's thousand modules and Keras: 8.2 s of CPU where this was measured, against
3.2 s for what loading and calling a SavedModel needs. So a bare package object stands in for `tensorflow/__init__.py`,
and its submodules are imported from it. Keras needs the whole, and gets it: `whole()` runs the real `__init__` over the
same submodules.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import os
import sys
import types
from typing import Any

_STANDS_IN = "__fairlead_stands_in__"
_FOR_SAVED_MODELS = (
    "core.protobuf.config_pb2",
    "core.protobuf.saved_model_pb2",
    "python.client.session",
    "python.eager.context",
    "python.framework.convert_to_constants",
    "python.framework.errors_impl",
    "python.framework.importer",
    "python.ops.lookup_ops",
    "python.saved_model.load",
)


def import_part(name: str) -> Any:
    """The submodule `tensorflow.<name>`, without running TensorFlow's own `__init__`."""
    if "tensorflow" not in sys.modules:
        prepare_environment()
        spec = importlib.util.find_spec("tensorflow")
        if spec is None or spec.submodule_search_locations is None:
            raise ModuleNotFoundError("tensorflow is not installed")
        package = types.ModuleType("tensorflow")
        package.__path__ = list(spec.submodule_search_locations)
        package.__spec__ = spec
        setattr(package, _STANDS_IN, True)
        sys.modules["tensorflow"] = package
    return importlib.import_module(f"tensorflow.{name}")


def import_complete() -> Any:
    """The complete public `tensorflow`."""
    prepare_environment()
    if getattr(sys.modules.get("tensorflow"), _STANDS_IN, False):
        del sys.modules["tensorflow"]
    return importlib.import_module("tensorflow")


def import_for_saved_models() -> None:
    """All that loading and calling a SavedModel needs. It starts no thread, so a process can be forked after it."""
    for name in _FOR_SAVED_MODELS:
        import_part(name)
    # What `tensorflow/__init__.py` does for eager execution, resource variables and control flow.
    import_part("python.tf2").enable()
    import_part("python.compat.v2_compat").enable_v2_behavior()


def version() -> str:
    """That of the package, without importing it."""
    try:
        return importlib.metadata.version("tensorflow-cpu")
    except importlib.metadata.PackageNotFoundError:
        return importlib.metadata.version("tensorflow")


def prepare_environment() -> None:
    """What TensorFlow reads from the environment; values that are set already stay."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("TF2_BEHAVIOR", "1")
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", os.environ.get("CUDA_VISIBLE_DEVICES", "-1"))


def protobuf_error() -> type[Exception]:
    """What protobuf raises for bytes that are no message."""
    error: type[Exception] = importlib.import_module("google.protobuf.message").DecodeError
    return error
