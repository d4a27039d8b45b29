"""Every kernel that is started, its operations and bytes, and all memory in use, by stage.

::

    account = KernelAccount()
    with torch.device("meta"), account:       # tensors without data: sizes are real, nothing is run
        with account.stage("forward"):
            model(torch.empty(56, 199, dtype=torch.int64))
    sum(kernel.n_bytes for kernel in account.stages["forward"])

Works over tensors with data as well.
"""

from __future__ import annotations

import math
import weakref
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry, sdpa_flop_count

from benchmarks.floors import Work

#: CUDA's allocator gives memory in such blocks.
_BLOCK_BYTES = 512
#: Make a tensor and write nothing.
_EMPTY = frozenset({"empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided"})
#: Write a whole tensor and read none, or only what is copied into it.
_FILL = frozenset({"copy_", "fill_", "full_like", "new_full", "new_ones", "new_zeros"})
_FILL |= {"ones_like", "zero_", "zeros_like"}
#: Read as many values as they write, however large the tensor that they choose from.
_CHOICE = frozenset({"embedding", "gather", "index", "index_select"})


@dataclass(frozen=True, slots=True)
class Kernel(Work):
    """One call that computes or copies; views and new memory are none.

    Its bytes are those read and written, each tensor once.
    """

    name: str


class KernelAccount(TorchDispatchMode):
    """Counts while it is open.

    Args:
        share_found: Of what `nonzero` looks through, over tensors without data.

    Attributes:
        stages: The kernels of each, in order.
        live_bytes, peak_bytes: In use now, and at most so far; of tensors made while it was open.
        of_peak: The stage and kernel that made what was in use then, by bytes.
    """

    def __init__(self, share_found: float = 1.0) -> None:
        super().__init__()
        self.share_found = share_found
        self.stages: defaultdict[str, list[Kernel]] = defaultdict(list)
        self.live_bytes = 0
        self.peak_bytes = 0
        self.of_peak: Mapping[tuple[str, str], int] = {}
        self._stage = ""
        self._storages: set[int] = set()
        self._live: Counter[tuple[str, str]] = Counter()

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count what is started in the context as the stage `name`."""
        before, self._stage = self._stage, name
        try:
            yield
        finally:
            self._stage = before

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        out = self._answer(func, args, kwargs)
        made = _tensors(out)
        name = func._schema.name.split("::")[-1]
        for tensor in made:
            self._keep(tensor, name)
        inputs = _tensors((args, {key: kwargs[key] for key in kwargs if key != "out"}))
        if _is_kernel(func, name, inputs, made):
            operations = _operations(func, args, kwargs, out)
            self.stages[self._stage].append(Kernel(operations, _bytes(name, inputs, made), name))
        return out

    def _answer(self, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """Call it; make up what only data could say. Numbers are 0."""
        aten = torch.ops.aten
        if any(tensor.is_meta for tensor in _tensors((args, kwargs))):
            if func is aten._local_scalar_dense.default:
                return 0
            if func is aten.nonzero.default:
                n_found = math.ceil(args[0].numel() * self.share_found)
                return args[0].new_empty((n_found, args[0].dim()), dtype=torch.int64)
            if func is aten.bincount.default:
                n_bins = args[2] if len(args) > 2 else kwargs["minlength"]
                return args[0].new_empty(n_bins, dtype=torch.int64)
            if func is aten._to_copy.default and kwargs.get("device") == torch.device("cpu"):
                kwargs = {**kwargs, "device": torch.device("meta")}
        return func(*args, **kwargs)

    def _keep(self, tensor: Tensor, name: str) -> None:
        """Count a storage from now until it goes."""
        storage = tensor.untyped_storage()
        key, made_by = storage._cdata, (self._stage, name)
        if key in self._storages:
            return
        n_bytes = -(-storage.nbytes() // _BLOCK_BYTES) * _BLOCK_BYTES
        self._storages.add(key)
        self._live[made_by] += n_bytes
        self.live_bytes += n_bytes
        if self.live_bytes > self.peak_bytes:
            self.peak_bytes = self.live_bytes
            self.of_peak = dict(self._live)
        weakref.finalize(storage, self._forget, key, made_by, n_bytes)

    def _forget(self, key: int, made_by: tuple[str, str], n_bytes: int) -> None:
        self._storages.discard(key)
        self._live[made_by] -= n_bytes
        self.live_bytes -= n_bytes


def _tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


def _is_kernel(func: Any, name: str, inputs: Sequence[Tensor], made: Sequence[Tensor]) -> bool:
    """Say whether it computes: it makes tensors of its own, or changes one."""
    if not made or name in _EMPTY:
        return False
    known = {tensor.untyped_storage()._cdata for tensor in inputs}
    is_view = all(tensor.untyped_storage()._cdata in known for tensor in made)
    return func._schema.is_mutable or not is_view


def _operations(func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], out: Any) -> float:
    packet = func._overloadpacket
    if packet in flop_registry:
        return float(flop_registry[packet](*args, **kwargs, out_val=out))
    name = func._schema.name
    if "scaled_dot_product" in name and "_for_cpu" in name:
        # The counter knows the kernels of GPUs alone. Backward takes five products for two.
        q, k, v = (t.shape for t in (args[1:4] if "backward" in name else args[:3]))
        return float(sdpa_flop_count(q, k, v)) * (2.5 if "backward" in name else 1)
    return 0.0


def _bytes(name: str, inputs: Sequence[Tensor], made: Sequence[Tensor]) -> float:
    written = sum(_size(tensor) for tensor in made)
    if name in _FILL:
        return written + (_size(inputs[1]) if name == "copy_" else 0)
    if name in _CHOICE:
        return 2 * written + sum(_size(tensor) for tensor in inputs[1:])
    reads = 3 if name == "bincount" else 1  # its least and greatest first
    return written + reads * sum(_size(tensor) for tensor in inputs)


def _size(tensor: Tensor) -> int:
    """Give the bytes that a tensor's values take; one expanded from a smaller one has only its."""
    return min(tensor.numel() * tensor.itemsize, tensor.untyped_storage().nbytes())
