"""The engine ONNX Runtime: converts a model once for each content, compares it with TensorFlow, and calls it."""
