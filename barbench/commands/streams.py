"""Prepares standard streams that are closed or not UTF-8, so that printing can never lose a result."""

import io
import os
import sys


def prepare_streams() -> None:
    """Give closed streams a null device, and let streams spell out characters that they cannot encode.

    Otherwise `barbench run` would train for hours and fail at the first rule of its table if output is ASCII.
    """
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        stream = getattr(sys, name)
        if stream is None:
            try:
                os.fstat(number)
            except OSError:  # a file opened later would take the number, and be written to
                os.dup2(os.open(os.devnull, os.O_RDWR), number)
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115
        elif isinstance(stream, io.TextIOWrapper) and mode == "w":
            stream.reconfigure(errors="backslashreplace")
