"""Writes a model in the form that another runtime reads, for devices that no cluster reaches."""
