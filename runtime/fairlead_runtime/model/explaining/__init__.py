"""Why a model answers as it does: what each part of an input adds to a score."""
