"""The three model families of the demo: their data, training, evaluation and manifests."""
