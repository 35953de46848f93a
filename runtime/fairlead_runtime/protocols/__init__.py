"""The wire protocols: Open Inference Protocol and TensorFlow Serving, both over plain requests. Knows no TensorFlow."""
