"""Numbers that are being copied from a GPU and are read one step late, so that the device never runs out of work."""

import torch
from torch import Tensor


class PendingTensor:
    """A tensor, on any device, that is being copied to the host while the device computes the next step.

    On a CPU it is there at once. From CUDA it is copied into pinned memory, in the order of the stream; `read` waits
    for that copy alone, and not for what was launched after it.
    """

    def __init__(self, x: Tensor) -> None:
        self._event: torch.cuda.Event | None = None
        if x.device.type != "cuda":
            self._host = x.cpu()
            return
        self._host = torch.empty(x.shape, dtype=x.dtype, pin_memory=True)
        self._host.copy_(x, non_blocking=True)
        self._event = torch.cuda.Event()  # type: ignore[no-untyped-call]
        self._event.record(torch.cuda.current_stream(x.device))

    def read(self) -> Tensor:
        """The tensor on the CPU."""
        if self._event is not None:
            self._event.synchronize()
        return self._host


def steps_in_flight(device: torch.device) -> int:
    """How many steps or batches the host runs ahead of what it reads: 1 on CUDA, 0 elsewhere."""
    return 1 if device.type == "cuda" else 0
