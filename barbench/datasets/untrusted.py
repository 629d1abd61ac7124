"""Limits on values of files that anybody may have written, so that none makes barbench allocate, rasterise or tokenise
without end. The values themselves are read by `barbench.values`."""

import contextlib
import resource
from collections.abc import Iterator
from pathlib import Path

MAX_PIXELS = 2**26  # of an image; COCO's largest has 2**18.6
MAX_OUTLINE = 10**6  # pixels along a segmentation's polygons; COCO's longest have some thousands
MAX_CHARACTERS = 2_000  # of an expression; the longest of G-Ref has some hundreds
MEMORY_PER_BYTE = 100  # that a pickle may take for each byte of its file, beside MEMORY_FREE
MEMORY_FREE = 2**30


def image_size(width: int, height: int) -> tuple[int, int]:
    """Width and height of an image that may be opened; ValueError for less than 1x1 pixels, or more than MAX_PIXELS."""
    if width < 1 or height < 1 or width * height > MAX_PIXELS:
        raise ValueError(
            f"an image of {width}x{height} pixels; at least 1x1 and at most {MAX_PIXELS:,} pixels are read"
        )
    return width, height


@contextlib.contextmanager
def bounded_memory(size: int) -> Iterator[None]:
    """Limit what reading a file can allocate: beyond the limit the block raises MemoryError.

    A few bytes of a pickle can ask for gigabytes. The limit is MEMORY_FREE, and MEMORY_PER_BYTE for each byte of the
    file's `size`. The operating system enforces it (only where /proc is there), until the end of the block.
    """
    statm = Path("/proc/self/statm")
    if not statm.is_file():
        yield
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    # The limit is on the address space, of which this process uses a part already.
    used = int(statm.read_text().split()[0]) * resource.getpagesize()
    bound = used + MEMORY_FREE + MEMORY_PER_BYTE * size
    if soft != resource.RLIM_INFINITY:
        bound = min(bound, soft)
    resource.setrlimit(resource.RLIMIT_AS, (bound, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
