"""Which kernels compute: `--kernels`.

`low_memory` keeps and moves as few bytes as it can, in many small operations, which cost nothing on a CPU. A GPU waits
for each of them to be launched: `fused` computes the same in fewer and larger ones (some in Triton), and saves more
activations. `auto` is `low_memory`, until `engine.kernel_check` has found that a card's fused kernels compute the same.
"""

from typing import get_args

from barbench.errors import UnknownName
from barbench.spec.run import Kernels

KERNELS: tuple[Kernels, ...] = get_args(Kernels)
_FORMER_NAMES: dict[str, Kernels] = {"plain": "low_memory", "lean": "fused"}


class _Chosen:
    fused: bool = False


def choose_kernels(kernels: str) -> None:
    """Choose for this process.

    Args:
        kernels: `auto`, `low_memory` or `fused`; `plain` and `lean` are former names of the last two.

    Raises:
        UnknownName: for another name.
    """
    for known in KERNELS:
        if known == kernels:
            _Chosen.fused = _FORMER_NAMES.get(known, known) == "fused"
            return
    raise UnknownName("kind of kernels", kernels, KERNELS)


def use_fused() -> bool:
    """Whether fused kernels compute in this process."""
    return _Chosen.fused
