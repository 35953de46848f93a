"""Fairlead's replica and gateway against other model servers: ``python -m benchmarks.peers`` (``docs/benchmarks.md``).

A file whose name begins with ``serve_`` is one server: what it is called, what is installed for it, and how it serves
a SavedModel by the call of ``fast_call.py``. It runs in an environment of its own, so neither it nor what it imports
from here needs anything but the standard library, NumPy and TensorFlow before ``serve`` is called.
"""
