"""Statistics from counts alone: what may be said of two revisions, however often one looks."""
