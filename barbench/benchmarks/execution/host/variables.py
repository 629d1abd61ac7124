"""A cell's share of a host, and the environment variables of its process: threads, memory, GPUs."""

import os
import re
import sys
from collections.abc import Sequence
from typing import NamedTuple

# Set by launchers for the processes that they start. A job around this process may have left them: accelerate would
# start a process group by them, or take its own settings. A worker is a rank only where its own launcher says so.
_STRAYS = re.compile(
    r"(LOCAL_|GROUP_|ROLE_)?(RANK|WORLD_SIZE)|MASTER_(ADDR|PORT)"
    r"|(TORCHELASTIC_|ACCELERATE_|PMI_|PMIX_|OMPI_|MV2_|MPI_LOCAL).*"
)
_SIGNALS = "SIGTERM,SIGINT,SIGHUP,SIGQUIT,SIGUSR2"


class Slot(NamedTuple):
    """A share of a host for one cell.

    Attributes:
        gpus: by their names for CUDA_VISIBLE_DEVICES; none: the cell sees all that its process sees.
        cores: 0: all that its process may use.
        neighbours: cells that run on the host at the same time, this one included.
    """

    gpus: tuple[str, ...] = ()
    cores: int = 0
    neighbours: int = 1


def worker_variables(gpus: Sequence[str] = ()) -> dict[str, str]:
    """The variables of a process that computes; those of this process take precedence.

    OpenMP threads wait spinning, but not for long: spinning as long as GNU's OpenMP does by default, a step can take
    ten times as long where another process wants one of the cores; sleeping at once, it takes twice as long on an idle
    machine. Memory from the system is kept: the C library would return every large tensor at once, and the system
    clears each page that it hands out again, which takes longer than many operations on it. The launcher of a cell
    with several processes passes on every signal that asks it to stop. `gpus` are the only ones that the process sees,
    by their names for CUDA_VISIBLE_DEVICES; none: all of this process's.
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
