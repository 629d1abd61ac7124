"""Which kernels compute: `--kernels`.

`low_memory` keeps and moves as few bytes as it can, in many small operations, which cost nothing on a CPU. A GPU waits
for each of them to be launched: `fused` computes the same in fewer and larger ones (some in Triton), and saves more
activations. `auto` is `low_memory`, until `engine.kernel_check` has found that a card's fused kernels compute the same.
"""

from typing import get_args

from barbench.errors import UnknownName
from barbench.spec.run import Kernels

KERNELS: tuple[Kernels, ...] = get_args(Kernels)


class _Chosen:
    fused: bool = False


def choose_kernels(kernels: str) -> None:
    """Choose for this process.

    Args:
        kernels: `auto`, `low_memory` or `fused`; `plain` and `lean` are former names of the last two.

    Raises:
        UnknownName: for another name.
    """
    if kernels not in KERNELS:
        raise UnknownName("kind of kernels", kernels, KERNELS)
    _Chosen.fused = kernels in ("fused", "lean")


def use_fused() -> bool:
    """Whether fused kernels compute in this process."""
    return _Chosen.fused
