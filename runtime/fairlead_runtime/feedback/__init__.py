"""Ground truth without a store: a signed token in the answer, the true label later, counted for its revision."""
