"""A model with bfloat16 at its edges takes and gives float32: neither NumPy nor most clients know the other type.

Each bfloat16 is a float32, so outputs lose nothing. Inputs are rounded as the model's own cast would round them.
"""

from __future__ import annotations

from typing import Any

from fairlead_runtime.model import tensorflow_import
from fairlead_runtime.model.signature import BFLOAT16, Signature


def widen(function: Any, read: Signature) -> Any:
    """The concrete function itself where it has no such tensor, else one around it with the dtypes of `read`."""
    if BFLOAT16 not in {tensor.dtype.name for tensor in (*function.inputs, *function.outputs)}:
        return function
    dtypes = tensorflow_import.import_part("python.framework.dtypes")
    cast = tensorflow_import.import_part("python.ops.math_ops").cast
    tensor_spec = tensorflow_import.import_part("python.framework.tensor_spec").TensorSpec
    given = {name: spec.dtype for name, spec in function.structured_input_signature[1].items()}

    def call(**tensors: Any) -> dict[str, Any]:
        results = function(**{name: cast(tensor, given[name]) for name, tensor in tensors.items()})
        return {
            name: cast(result, dtypes.float32) if result.dtype == dtypes.bfloat16 else result
            for name, result in results.items()
        }

    specs = {spec.name: tensor_spec(spec.shape, dtypes.as_dtype(spec.dtype.value), spec.name) for spec in read.inputs}
    polymorphic = tensorflow_import.import_part("python.eager.def_function")
    return polymorphic.function(call, autograph=False).get_concrete_function(**specs)
