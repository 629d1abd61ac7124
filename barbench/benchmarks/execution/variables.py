"""The environment variables of a process that computes: threads and memory."""

import os


def worker_variables() -> dict[str, str]:
    """The variables of a process that computes: what is set here, under this process's own.

    OpenMP threads wait spinning, but not for long: spinning as long as GNU's OpenMP does by default, a step can take
    ten times as long where another process wants one of the cores; sleeping at once, it takes twice as long on an idle
    machine. Memory once had from the system is kept: the C library would give every large tensor back at once, and the
    system clears each page that it hands out anew, which takes longer than many an operation on it.
    """
    return {"GOMP_SPINCOUNT": "20000", "MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(1 << 40), **os.environ}
