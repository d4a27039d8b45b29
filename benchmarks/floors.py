"""What the pass has to cost at least: operations over a ceiling, bytes over a bandwidth.

    python -m benchmarks.floors --tflops 790 --gb-per-s 4000 --batch-size 56

Counts, at GPT-J's full size, what an image costs; nothing is run. `detect_gptj` sets what it
measures beside the same counts, with the ceiling and the bandwidth of the same run.

Counted as least are the matrix products and the bytes that no order of the work avoids: weights and
cache once a step of the caption, activations and gradients once. Counted as present are the
bytes that the code passes over, by hand, on a GPU in a type of two bytes; `benchmarks.trace` counts
them by running it.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass

from benchmarks.random_models import N_PATCHES, SIZES, ModelSize

#: Tokens of the prompt.
N_PROMPT = 3
#: Bytes for each activation: maxima 2, sums 2, first bits 4, their places 6, counts 4.
_STATISTICS = 18
#: And for its attribution: the product of z and the gradient 8, maxima 4.
_TOPS = 12
#: Values that norms, GELU, residuals and copies of heads pass over, in widths of d_model a layer
#: and position, forward and backward: GELU 20, norm 5, residuals 12, rotary and heads 24.
_ELEMENTWISE = 61
#: Over the logits of all units.
_PASSES_OF_DECODING = 10


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one image, or of all units.

    Attributes:
        operations: Of matrix products.
        least_bytes, present_bytes: To and from the device's memory, products' own left out.
    """

    operations: float
    least_bytes: float
    present_bytes: float

    def floor_s(self, operations_per_s: float, bytes_per_s: float) -> float:
        """Give the least time, with nothing done beside anything else."""
        return self.operations / operations_per_s + self.least_bytes / bytes_per_s

    def counted_s(self, operations_per_s: float, bytes_per_s: float) -> float:
        """Give the time of the present code, launches and waiting left out."""
        return self.operations / operations_per_s + self.present_bytes / bytes_per_s


def image_costs(size: ModelSize, batch_size: int, itemsize: int = 2) -> dict[str, Cost]:
    """Count the stages of `detect_gptj`, an image in a batch of `batch_size`."""
    n_positions = N_PATCHES + N_PROMPT
    block, d = size.n_block_weights, size.d_model
    head = d * size.d_vocab
    n_steps = size.max_new_tokens - 1
    cache = 2 * size.n_layers * d * (n_positions + n_steps / 2)
    step_bytes = itemsize * ((block + head) / batch_size + cache)
    # Backward ends at the first layer's z: its first matrix and its attention need no gradient.
    backward = block - 8 * d**2
    activations = size.n_layers * size.d_mlp * N_PATCHES
    elementwise = size.n_layers * n_positions * d * _ELEMENTWISE
    encoder = size.encoder_depth * 12 * size.encoder_width**2
    return {
        "encode": Cost(2 * encoder * (N_PATCHES + 1), 0, 0),
        "generate": Cost(2 * (block + head) * n_steps, n_steps * step_bytes, n_steps * step_bytes),
        "forward, backward and tops": Cost(
            2 * (block + backward) * n_positions,
            2 * activations * itemsize,
            activations * _TOPS + elementwise * itemsize,
        ),
        "exemplars and statistics": Cost(0, activations * itemsize, activations * _STATISTICS),
    }


def decoding_cost(size: ModelSize) -> Cost:
    """Count the decoding of all units; the logits are float32, and least is to write them once.

    At present logits are written once and read for maxima and for minima; softmax reads them thrice
    and writes once; its inverse is read, written and summed.
    """
    n_units = size.n_layers * size.d_mlp
    logits = 4 * n_units * size.d_vocab
    operations = 2 * n_units * size.d_model * size.d_vocab
    return Cost(operations, logits, _PASSES_OF_DECODING * logits)


def main() -> None:
    """Print the table."""
    made = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--size", choices=tuple(SIZES), default="full")
    made.add_argument("--tflops", type=float, default=790, help="of a large product")
    made.add_argument("--gb-per-s", type=float, default=4000, help="of the memory")
    made.add_argument("--batch-size", type=int, default=56)
    arguments = made.parse_args()
    size = SIZES[arguments.size]
    speeds = arguments.tflops * 1e12, arguments.gb_per_s * 1e9
    print("counted, not measured; ms an image          floor  present code, launches left out")
    totals = [0.0, 0.0]
    for name, cost in image_costs(size, arguments.batch_size).items():
        times = [1e3 * cost.floor_s(*speeds), 1e3 * cost.counted_s(*speeds)]
        totals = [total + time for total, time in zip(totals, times, strict=True)]
        print(f"{name:<40} {times[0]:8.2f} {times[1]:8.2f}")
    print(f"{'all':<40} {totals[0]:8.2f} {totals[1]:8.2f}")
    print(f"{'images/s':<40} {1e3 / totals[0]:8.1f} {1e3 / totals[1]:8.1f}")
    decoding = decoding_cost(size)
    bare_s, present_s = decoding.floor_s(*speeds), decoding.counted_s(*speeds)
    print(f"decoding: bare product {bare_s:.2f} s, present code {present_s:.2f} s")


if __name__ == "__main__":
    main()
