"""What image decoders say on the process's standard error: libjpeg fills a damaged part with gray, warns there, and
returns an image all the same. Used by `datasets.audit`.

OpenCV and Pillow give no other way to these warnings: both decode a JPEG with a hole of zero bytes without any error.
"""

import contextlib
import os
import re
import tempfile
from collections.abc import Iterator

_COMPLAINT = re.compile(rb"(?i)jpeg|libpng|huffman")


@contextlib.contextmanager
def decoder_warnings() -> Iterator[list[str]]:
    """A list that holds, after the block, the lines that decoders wrote in it; all other lines go on to standard error.

    File descriptor 2 belongs to the whole process, so only one block is open at a time, and what threads inside write
    cannot be told apart: where a block of several images complains, decode them one by one. A process without standard
    error gets an empty list.
    """
    said: list[str] = []
    try:
        kept = os.dup(2)
    except OSError:
        yield said
        return
    with tempfile.TemporaryFile() as caught:
        os.dup2(caught.fileno(), 2)
        try:
            yield said
        finally:
            os.dup2(kept, 2)
            caught.seek(0)
            for line in caught:
                if _COMPLAINT.search(line):
                    said.append(line.decode("utf-8", "replace").strip())
                else:
                    os.write(kept, line)
            os.close(kept)
