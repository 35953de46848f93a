"""Errors of the plugin that a person reads in one line."""

from __future__ import annotations


class PluginError(Exception):
    """The command can't be carried out; the message is a whole sentence."""


class UntrustedError(PluginError):
    """A server has no certificate that is accepted."""


class ConflictError(PluginError):
    """The object changed between the read and the write."""
