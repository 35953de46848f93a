"""Smaller or faster variants of a converted model: made once for each content, measured, and served if good enough."""
