"""Which device a build runs on when none is named, how much it is given at once, how it adds."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

#: Numbers worked on at once: what a CPU's cache holds, and enough to keep a GPU busy without
#: taking more than a few hundred megabytes.
_ELEMENTS_AT_ONCE = {"cpu": 2**18}
_ELEMENTS_ON_GPU = 2**26
#: What libraries say when they, and not PyTorch's own allocator, find no memory.
_OUT_OF_MEMORY = (
    "can't allocate memory",
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
)
#: Where the sum of a product, or of a convolution in float32, may be kept in fewer bits.
_SHORT_SUMS = (
    (torch.backends.cuda.matmul, "allow_bf16_reduced_precision_reduction"),
    (torch.backends.cuda.matmul, "allow_fp16_reduced_precision_reduction"),
    (torch.backends.cudnn, "allow_tf32"),
)
#: cuDNN's attention may be quicker, and has no backward pass that always adds in the same order.
_ATTENTION = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]
#: cuBLAS adds in the same order only where its workspace has one of two sizes; PyTorch looks once,
#: at the first product. This is the size that it takes by itself on an H100.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")


def best_device() -> str:
    """Name the accelerator if there is one that PyTorch can use, else the CPU."""
    if torch.cuda.is_available():
        return "cuda"
    return "cpu"


def images_at_once(values: Tensor) -> int:
    """Say how many images (or maps) of `values` (n, ...) to work on at once, at least 1."""
    limit = _ELEMENTS_AT_ONCE.get(values.device.type, _ELEMENTS_ON_GPU)
    return max(1, limit // max(1, values[:1].numel()))


def is_out_of_memory(error: BaseException) -> bool:
    """Say whether an error means that a device's memory, or the host's, was used up."""
    text = str(error)
    return isinstance(error, torch.OutOfMemoryError) or any(t in text for t in _OUT_OF_MEMORY)


@contextmanager
def float32_sums() -> Iterator[None]:
    """Let CUDA add up in float32, and attend by kernels that can add in a fixed order.

    PyTorch's own setting lets sums over parts of a bfloat16 product be rounded to bfloat16, and
    convolutions of float32 numbers multiply 10 bits of them.
    """
    with ExitStack() as stack:
        for module, name in _SHORT_SUMS:
            stack.callback(setattr, module, name, getattr(module, name))
            setattr(module, name, False)
        stack.enter_context(sdpa_kernel(_ATTENTION))
        yield


@contextmanager
def same_order_of_sums() -> Iterator[None]:
    """Let backward passes over the same numbers give the same gradients, bit for bit.

    On CUDA the fused attention's backward pass otherwise adds up in the order in which its blocks
    happen to end. An operation that cannot keep to an order raises RuntimeError.
    """
    memory: Any = torch.utils.deterministic
    with ExitStack() as stack:
        stack.callback(torch.set_deterministic_debug_mode, torch.get_deterministic_debug_mode())
        fills = memory.fill_uninitialized_memory
        stack.callback(setattr, memory, "fill_uninitialized_memory", fills)
        memory.fill_uninitialized_memory = False
        torch.set_deterministic_debug_mode("error")
        yield
