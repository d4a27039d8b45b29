"""Running statistics of every unit's activation over all patches, on the device.

Sums are kept as integers in steps of 2**-20, so adding is exact and the order of the images does
not matter. Quantiles come from a histogram with logarithmic bins, four an octave (the layout is
in `atlas_db.run_format`): a quantile of magnitude 2**-8 to 2**8 is off by at most an eighth of
itself, one nearer to 0 by at most 2**-8.
"""

from __future__ import annotations

import torch
from torch import Tensor

from atlas_db.run_format import (
    HISTOGRAM_BINS_PER_OCTAVE,
    HISTOGRAM_BINS_PER_SIGN,
    HISTOGRAM_OCTAVE_MIN,
    N_HISTOGRAM_BINS,
)
from builder.devices import images_at_once

_FIXED_POINT = 2.0**20
_FLOAT32_BIAS = 127
_FIRST_BIN = (_FLOAT32_BIAS + HISTOGRAM_OCTAVE_MIN) * HISTOGRAM_BINS_PER_OCTAVE
#: Integers of a type's size, and the bits of its mantissa below those that choose the bin: four
#: bins an octave are the first two. bfloat16 is float32's first half, exponent and all.
_LAYOUT = {torch.bfloat16: (torch.int16, 7 - 2), torch.float32: (torch.int32, 23 - 2)}
assert HISTOGRAM_BINS_PER_OCTAVE == 2**2


def _layout(activations: Tensor) -> tuple[Tensor, torch.dtype, int]:
    """Give values whose bits are known, their integer type and how far the bin's bits lie up."""
    known = activations.dtype in _LAYOUT
    values = activations if known else activations.to(torch.float32)
    return values, *_LAYOUT[values.dtype]


def histogram_bins(activations: Tensor) -> Tensor:
    """Find each activation's bin, 0 to N_HISTOGRAM_BINS - 1, from its bits.

    int16 of bfloat16, half the bytes to pass over; else int32, from float32's bits.
    """
    values, integer, shift = _layout(activations)
    bits = (values + 0.0).view(integer)  # a new tensor, in which -0.0 has become 0.0
    # Exclusive or with -1 is -1 - i: a choice without a branch, 20 times as fast as `where`.
    minus_one_if_negative = bits >> (torch.iinfo(integer).bits - 1)
    i = bits.bitwise_and_(torch.iinfo(integer).max).bitwise_right_shift_(shift)
    i = i.sub_(_FIRST_BIN).clamp_(0, HISTOGRAM_BINS_PER_SIGN - 1)
    return i.bitwise_xor_(minus_one_if_negative).add_(HISTOGRAM_BINS_PER_SIGN)


#: Values of a float32's sign, its exponent and the bits of its mantissa that choose the bin.
_SLOTS_PER_SIGN = 2**8 * HISTOGRAM_BINS_PER_OCTAVE


def no_slots(n_units: int, device: torch.device) -> Tensor:
    """Make the counts that `count_slots` adds to: (n_units, 2 * _SLOTS_PER_SIGN) int32 zeros."""
    return torch.zeros((n_units, 2 * _SLOTS_PER_SIGN), dtype=torch.int32, device=device)


def count_slots(activations: Tensor, counts: Tensor) -> None:
    """Count each unit's activations by their first bits: `bins_of_slots` makes bins of the counts.

    For a device that is slower to pass over its memory than at all else: here it is passed over
    four times, by `histogram_bins` and a count of the bins a dozen times.

    Args:
        activations: (..., n_units), floating point.
        counts: Added to: each unit's negative ones by rising magnitude, then the others.
    """
    n_units = activations.shape[-1]
    values, integer, shift = _layout(activations)
    slots = values.view(integer) >> shift  # a negative one's start at -_SLOTS_PER_SIGN
    first = torch.arange(n_units, dtype=torch.int32, device=slots.device) * (2 * _SLOTS_PER_SIGN)
    index = (slots + (first + _SLOTS_PER_SIGN)).flatten()
    counts.view(-1).index_add_(0, index, counts.new_ones(1).expand(len(index)))


def bins_of_slots(counts: Tensor) -> tuple[Tensor, Tensor]:
    """Gather counts by first bits into the histogram's bins.

    A magnitude below 2**-128 counts as 0, whatever its sign.

    Args:
        counts: (n_units, 2 * _SLOTS_PER_SIGN), of `count_slots`.

    Returns:
        Bins (n_units, N_HISTOGRAM_BINS) int64, and how many are above 0, (n_units,) int64.
    """
    negative, positive = counts.split(_SLOTS_PER_SIGN, dim=1)
    n_zeros = negative[:, 0] + positive[:, 0]
    bins = torch.cat(
        [_bins_of_sign(negative[:, 1:]).flip(1), _bins_of_sign(positive[:, 1:])], dim=1
    )
    bins[:, HISTOGRAM_BINS_PER_SIGN] += n_zeros
    return bins, positive[:, 1:].sum(dim=1)


def _bins_of_sign(counts: Tensor) -> Tensor:
    """Join the slots that reach into the first bin and those beyond the last."""
    last = _FIRST_BIN + HISTOGRAM_BINS_PER_SIGN - 2
    first, between, beyond = counts.tensor_split((_FIRST_BIN, last), dim=1)
    first, beyond = (part.sum(dim=1, keepdim=True) for part in (first, beyond))
    return torch.cat([first, between, beyond], dim=1)


class LayerStatistics:
    """Counts, sums and histograms of one layer's units so far."""

    def __init__(self, n_units: int, device: torch.device | str) -> None:
        self.n_patches = 0
        self.n_positive = torch.zeros(n_units, dtype=torch.int64, device=device)
        self._sum = torch.zeros(n_units, dtype=torch.int64, device=device)
        self.histogram = torch.zeros((n_units, N_HISTOGRAM_BINS), dtype=torch.int64, device=device)

    def update(self, activations: Tensor) -> None:
        """Take in a batch: (batch, patch, n_units), floating point."""
        is_on_cpu = activations.device.type == "cpu"
        slots = None if is_on_cpu else no_slots(activations.shape[-1], activations.device)
        for part in activations.split(images_at_once(activations)):
            self._add_up(part)
            if slots is None:
                self._count_in_cache(part)
            else:
                count_slots(part, slots)
        if slots is not None:
            bins, n_positive = bins_of_slots(slots)
            self.histogram += bins
            self.n_positive += n_positive

    def _add_up(self, activations: Tensor) -> None:
        self.n_patches += activations.shape[0] * activations.shape[1]
        # Summed image by image, so that batches of another size round alike. float32 sums of a
        # type of two bytes have no rounding to speak of, and need no copy of it as float64.
        wide = torch.float32 if activations.dtype.itemsize == 2 else torch.float64
        sums = activations.sum(dim=1, dtype=wide).to(torch.float64) * _FIXED_POINT
        self._sum += sums.round().to(torch.int64).sum(dim=0)

    def _count_in_cache(self, activations: Tensor) -> None:
        """Count few enough activations that passing over them again costs next to nothing."""
        # As floating-point ones and zeros: a sum over booleans is four times as slow.
        is_positive = torch.gt(activations, 0, out=torch.empty_like(activations))
        n_positive = is_positive.sum(dim=1, dtype=torch.float32)
        self.n_positive += n_positive.sum(dim=0).to(torch.int64)
        n_units = activations.shape[-1]
        first = torch.arange(n_units, dtype=torch.int32, device=activations.device)
        bins = histogram_bins(activations) + first * N_HISTOGRAM_BINS
        counts = torch.bincount(bins.flatten(), minlength=self.histogram.numel())
        self.histogram += counts.view_as(self.histogram)

    def rows(self) -> dict[str, Tensor]:
        """Give `n_patches`, `n_positive`, `activation_sum` and `histogram` by unit, on the host."""
        return {
            "n_patches": torch.full((len(self._sum),), self.n_patches, dtype=torch.int64),
            "n_positive": self.n_positive.cpu(),
            "activation_sum": self._sum.cpu().to(torch.float64) / _FIXED_POINT,
            "histogram": self.histogram.cpu(),
        }
