"""A second device in software, for tests of code that is to run on a GPU where there is none.

    with second_device() as device:
        on_it = move(model)                # parameters and buffers lie on the device
        values = torch.ones(3).to(device)  # so does this
        values + torch.ones(3)             # RuntimeError: two devices

Its tensors hold numbers of the CPU and report another device. An operation that mixes them with
tensors of the CPU raises what CUDA raises; numbers of no dimension and indices may lie on either,
as with CUDA. `.cpu()`, `.item()` and `.tolist()` bring values back, `.numpy()` does not. What
makes the host wait for a device is noted in `WAITS`: the operation, and how many values came back.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

DEVICE = torch.device("meta")
aten = torch.ops.aten
_COPIES = (aten._to_copy.default, aten.copy_.default)
_INDEXED = (aten.index.Tensor, aten.index_put.default, aten.index_put_.default)
#: Their result's size is known only when the values are.
_SIZED_BY_VALUES = (aten.nonzero.default, aten.masked_select.default, aten._unique2.default)
WAITS: list[tuple[str, int]] = []


class DeviceTensor(Tensor):
    """A tensor of the device; `numbers` are its values."""

    numbers: Tensor

    @staticmethod
    def __new__(cls, real: Tensor) -> DeviceTensor:
        made = Tensor._make_wrapper_subclass(
            cls,
            real.shape,
            strides=real.stride(),
            storage_offset=real.storage_offset(),
            dtype=real.dtype,
            device=DEVICE,
        )
        made.numbers = real
        return made

    def __repr__(self, **_: Any) -> str:
        return f"DeviceTensor({self.numbers!r})"

    def tolist(self) -> Any:
        WAITS.append(("tolist", self.numel()))
        return self.numbers.tolist()

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return run(func, args, kwargs or {})


@contextmanager
def second_device() -> Iterator[torch.device]:
    """Let tensors be made on the device and moved to it, while open; give it."""
    with _Operations(), _Lists():
        yield DEVICE


class _Operations(TorchDispatchMode):
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return run(func, args, kwargs or {})


class _Lists(TorchFunctionMode):
    """Tensors that are made of lists go past the other mode."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        device = torch.device((kwargs or {}).get("device") or "cpu")
        if func is torch.tensor and device == DEVICE:
            return func(*args, **{**kwargs, "device": "cpu"}).to(DEVICE)
        if func is Tensor.new_tensor and isinstance(args[0], DeviceTensor):
            return torch.tensor(args[1], dtype=args[0].dtype).to(DEVICE)
        return func(*args, **(kwargs or {}))


def run(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """Run an operation on the numbers, where its tensors may meet."""
    tensors = [t for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)]
    here = [t for t in tensors if isinstance(t, DeviceTensor)]
    wanted = kwargs.get("device")
    is_here = bool(here) if wanted is None else torch.device(wanted) == DEVICE
    if here and func not in _COPIES:
        refuse_others(func, args, tensors)
    if here:
        _note_wait(func, args, is_here)
    if wanted is not None:
        kwargs = {**kwargs, "device": torch.device("cpu")}
    real = func(*tree_map(_real, args), **tree_map(_real, kwargs))
    if func is aten.copy_.default:
        return args[0]
    own = {id(t.numbers): t for t in here}
    return tree_map(lambda t: _own(t, own, is_here), real)


def _note_wait(func: Any, args: Any, is_here: bool) -> None:
    to_host = func is aten._to_copy.default and not is_here
    by_mask = func in _INDEXED and any(
        isinstance(index, Tensor) and index.dtype == torch.bool for index in args[1]
    )
    by_values = by_mask or func in (*_SIZED_BY_VALUES, aten._local_scalar_dense.default)
    if to_host or by_values:
        WAITS.append((str(func), args[0].numel() if to_host else 1))


def _real(value: Any) -> Any:
    return value.numbers if isinstance(value, DeviceTensor) else value


def _own(value: Any, own: dict[int, DeviceTensor], is_here: bool) -> Any:
    """Give the tensor itself for one that was changed in place."""
    if not isinstance(value, Tensor):
        return value
    if id(value) in own:
        return own[id(value)]
    return DeviceTensor(value) if is_here else value


def refuse_others(func: Any, args: Any, tensors: list[Tensor]) -> None:
    """Raise for tensors of the CPU among those of the device, but for numbers and indices.

    Raises:
        RuntimeError: As CUDA says it.
    """
    checked = [args[0], *args[2:]] if func in _INDEXED else tensors
    for tensor in tree_leaves(checked):
        if isinstance(tensor, Tensor) and not isinstance(tensor, DeviceTensor) and tensor.dim():
            raise RuntimeError(
                "Expected all tensors to be on the same device, but found at least two devices, "
                f"{DEVICE} and cpu! ({func})"
            )


def move(module: nn.Module) -> nn.Module:
    """Move a module's parameters and buffers to the device; needs no open device."""
    for part in module.modules():
        for name, parameter in list(part._parameters.items()):
            if parameter is not None:
                moved = DeviceTensor(parameter.data)
                part._parameters[name] = nn.Parameter(moved, requires_grad=parameter.requires_grad)
        for name, buffer in list(part._buffers.items()):
            if buffer is not None:
                part._buffers[name] = DeviceTensor(buffer)
    return module
