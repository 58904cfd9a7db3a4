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


class StoreError(DetkitError):
    """A store of objects does not answer as it should: of the object that it was asked for, nothing is known."""


class UsageError(DetkitError):
    """Options or arguments that do not fit together."""

    status = ExitStatus.USAGE


class ModelError(DetkitError):
    """A network cannot be loaded, or its outputs cannot be understood."""

    status = ExitStatus.MODEL


class DeviceError(ModelError):
    """A device that was asked for by name is not there."""


def missing_library(error: ImportError) -> DetkitError | None:
    """What to do where OpenCV cannot be imported; None for the import of anything else.

    On a server and in a container the libraries of a desktop, libGL first, are often missing.
    """
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    inside = frame is not None and "cv2" in frame.tb_frame.f_code.co_filename
    if error.name == "cv2" and not inside:
        return DetkitError("OpenCV is missing; install it with: pip install opencv-python-headless")
    if not inside and "cv2" not in str(error) and "libGL" not in str(error):
        return None
    return DetkitError(
        f"OpenCV cannot be loaded ({error}); on a machine without a desktop take the build that needs none: "
        "pip uninstall -y opencv-python && pip install opencv-python-headless"
    )
