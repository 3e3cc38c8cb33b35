"""Errors that a command line must know before it knows torch."""

from __future__ import annotations


class NotFiniteError(ValueError):
    """Numbers that are not finite where only finite ones mean something; the message says which."""


class TrainingDivergedError(NotFiniteError):
    """Loss, gradient, weights or statistics of a training are not finite any more."""


class EvaluationNotFiniteError(NotFiniteError):
    """A network says of a position what no search can use."""


class DeviceNotAvailableError(ValueError):
    """The device asked for does not exist on this machine."""
