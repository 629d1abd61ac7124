"""Which kernels compute: `--kernels`.

`plain` is what a CPU runs: it keeps and moves as few bytes as it can, in many small operations, which cost nothing
there. A GPU waits for each of them to be launched; `lean` computes the same in fewer. `auto` is lean on CUDA and plain
elsewhere.
"""

from typing import TYPE_CHECKING, Literal, get_args

from barbench.errors import UnknownName

if TYPE_CHECKING:  # the command line reads the names above before it imports torch
    import torch
    from torch import Tensor

Kernels = Literal["auto", "plain", "lean"]
KERNELS: tuple[Kernels, ...] = get_args(Kernels)


class _Chosen:
    kernels: Kernels = "auto"


def choose_kernels(kernels: str) -> None:
    """Choose for this process.

    Args:
        kernels: `auto`, `plain` or `lean`.

    Raises:
        UnknownName: for another name.
    """
    for known in KERNELS:
        if known == kernels:
            _Chosen.kernels = known
            return
    raise UnknownName("kind of kernels", kernels, KERNELS)


def chosen_kernels() -> Kernels:
    """What was chosen for this process; `auto` if nothing was."""
    return _Chosen.kernels


def lean(x: "Tensor | torch.device") -> bool:
    """Whether x is computed with by few, large kernels.

    Args:
        x: any tensor on the device, or the device.

    Returns:
        True where `lean` was chosen, and on CUDA where nothing was.
    """
    device = getattr(x, "device", x)
    return _Chosen.kernels == "lean" or (_Chosen.kernels == "auto" and bool(device.type == "cuda"))
