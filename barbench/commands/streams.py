"""Standard streams that may be closed or not UTF-8: results are never lost to the way they are printed."""

import io
import os
import sys


def prepare_streams() -> None:
    """Give closed streams a null device, and let characters that a stream cannot encode be spelled out.

    Without it `barbench run` trains for hours and dies at the first rule of its table where output is ASCII.
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
