"""Clients that other projects publish for the protocols that we serve."""
