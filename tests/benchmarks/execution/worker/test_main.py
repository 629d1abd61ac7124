"""Which errors mean that memory ran out: messages as the libraries write them."""

import pytest
import torch

from barbench.benchmarks.execution.worker.main import is_out_of_memory, want_of_memory

SAID = [
    "CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported at some other API call",
    "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
    "CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`",
    "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
    "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
    "NCCL error in: ../ProcessGroupNCCL.cpp:2251, unhandled cuda error\nCuda failure 2 'out of memory'",
    "[enforce fail at alloc_cpu.cpp:118] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes.",
    "could not create a primitive descriptor for a convolution forward propagation primitive",
]


@pytest.mark.parametrize("said", SAID)
def test_a_librarys_own_words(said: str) -> None:
    assert is_out_of_memory(RuntimeError(said))


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("could not create a primitive", "out of memory: could not create a primitive"),
        ("CUDA error: out of memory", "CUDA error: out of memory"),
        ("", "out of memory"),
    ],
)
def test_the_record_speaks_of_memory(said: str, told: str) -> None:
    assert want_of_memory(RuntimeError(said)) == told


@pytest.mark.parametrize("error", [MemoryError(), torch.OutOfMemoryError("CUDA out of memory. Tried to allocate")])
def test_types_of_python_and_torch(error: BaseException) -> None:
    assert is_out_of_memory(error)


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasGemmEx( handle, opa, opb)`"),
        RuntimeError("CUDA error: device-side assert triggered"),
        RuntimeError("cuDNN error: CUDNN_STATUS_NOT_SUPPORTED"),
        ValueError("a picture of a man out of memory"),
        OSError(28, "No space left on device"),
    ],
)
def test_other_errors_are_no_want_of_memory(error: BaseException) -> None:
    assert not is_out_of_memory(error)
