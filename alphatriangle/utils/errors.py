"""Errors that a command line must know before it knows torch."""

from __future__ import annotations


class DeviceNotAvailableError(ValueError):
    """The device asked for does not exist on this machine."""
