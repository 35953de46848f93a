"""From typed tensors to answers: codec, batching, limits. Knows no HTTP."""
