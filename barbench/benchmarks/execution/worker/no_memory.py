"""Whether an error means that memory ran out: each library says so in its own words."""

import torch

_WORDS = (
    "out of memory",  # CUDA's driver and runtime, and NCCL, which quotes them
    "cublas_status_alloc_failed",
    "calling `cublascreate(",  # cuBLAS without room for its workspace may also say "not initialized"
    "cudnn_status_alloc_failed",
    "cudnn_status_internal_error_host_allocation_failed",
    "cudnn_status_internal_error_device_allocation_failed",
    "can't allocate memory",  # torch's CPU allocator
    "could not create a primitive",  # oneDNN
)


def ran_out(error: BaseException) -> bool:
    """Whether it was a want of memory that raised `error`.

    Args:
        error: of any type.

    Returns:
        True for Python's and torch's own types, and for a RuntimeError in the words of a library below torch.
    """
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    said = str(error).lower()
    return isinstance(error, RuntimeError) and any(words in said for words in _WORDS)
