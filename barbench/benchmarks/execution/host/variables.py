"""The environment variables of a process that computes: threads, memory, its GPUs, and nothing of a job around it."""

import os
import re
import sys
from collections.abc import Sequence
from typing import NamedTuple

# What launchers tell the processes that they start. A worker is nobody's rank unless its own launcher says so:
# accelerate would start a process group by these, and take settings from its own.
_STRAYS = re.compile(
    r"(LOCAL_|GROUP_|ROLE_)?(RANK|WORLD_SIZE)|MASTER_(ADDR|PORT)"
    r"|(TORCHELASTIC_|ACCELERATE_|PMI_|PMIX_|OMPI_|MV2_|MPI_LOCAL).*"
)
_SIGNALS = "SIGTERM,SIGINT,SIGHUP,SIGQUIT,SIGUSR2"


class Slot(NamedTuple):
    """A share of a host for one cell.

    Attributes:
        gpus: as CUDA_VISIBLE_DEVICES names them; none: the cell sees all that its process sees.
        cores: 0: all that its process may use.
        neighbours: cells that run on the host at the same time, this one included.
    """

    gpus: tuple[str, ...] = ()
    cores: int = 0
    neighbours: int = 1


def worker_variables(gpus: Sequence[str] = ()) -> dict[str, str]:
    """The variables of a process that computes: what is set here, under this process's own.

    OpenMP threads wait spinning, but not for long: spinning as long as GNU's OpenMP does by default, a step can take
    ten times as long where another process wants one of the cores; sleeping at once, it takes twice as long on an idle
    machine. Memory once had from the system is kept: the C library would give every large tensor back at once, and the
    system clears each page that it hands out anew, which takes longer than many an operation on it. The launcher of a
    cell with several processes hands on every signal that asks it to stop.

    Args:
        gpus: the only ones that the process sees, as CUDA_VISIBLE_DEVICES names them; none: all of this process's.

    Returns:
        All variables.
    """
    kept = {name: value for name, value in os.environ.items() if not _STRAYS.fullmatch(name)}
    seen = {"CUDA_VISIBLE_DEVICES": ",".join(gpus)} if gpus else {}
    network = {"GLOO_SOCKET_IFNAME": "lo"} if sys.platform == "linux" else {}  # a host's name may lead nowhere
    return {
        "GOMP_SPINCOUNT": "20000",
        "MALLOC_MMAP_MAX_": "0",
        "MALLOC_TRIM_THRESHOLD_": str(1 << 40),
        **network,
        **kept,
        "TORCHELASTIC_SIGNALS_TO_HANDLE": _SIGNALS,
        **seen,
    }
