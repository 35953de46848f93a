"""Copies of answered requests for a candidate, and how its answers differ from ours."""
