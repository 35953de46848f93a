"""Evaluates a model on labelled data, by the loader and the rules of the replica that serves it."""
