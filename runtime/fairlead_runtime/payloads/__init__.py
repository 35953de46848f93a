"""The payload log: sampled inputs and outputs of answered predictions on their way to a sink."""
