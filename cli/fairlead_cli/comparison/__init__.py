"""Compares candidate models on the same data and hardware, and recommends one under constraints."""
