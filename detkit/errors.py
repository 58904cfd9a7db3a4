"""The errors that detkit raises on purpose. Each message says what, where, and what to do about it.

The command line catches `DetkitError` in one place and turns it into one line on stderr and an exit status.
"""

from __future__ import annotations

from enum import IntEnum


class ExitStatus(IntEnum):
    """Exit statuses of every command."""

    OK = 0
    SOME_INPUTS_FAILED = 1
    USAGE = 2
    MODEL = 3
    INTERRUPTED = 130


class DetkitError(Exception):
    """Base of all errors that a user can act on."""

    status = ExitStatus.SOME_INPUTS_FAILED


class InputError(DetkitError):
    """A file or an array given as input cannot be used."""


class OutputError(DetkitError):
    """A result cannot be written."""


class UsageError(DetkitError):
    """Options or arguments that do not fit together."""

    status = ExitStatus.USAGE


class ModelError(DetkitError):
    """A network cannot be loaded, or its outputs cannot be understood."""

    status = ExitStatus.MODEL


class DeviceError(ModelError):
    """A device that was asked for by name is not there."""
