"""What the pass has to cost at least: operations over a ceiling, bytes over a bandwidth.

Counted are the matrix products and the bytes that no order of the work avoids: weights and cache
once a step of the caption, activations and gradients once. `benchmarks.detect_gptj` sets what it
measures beside these counts, with the ceiling and the bandwidth of the same run, and
`benchmarks.trace` what the code asks for.
"""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.random_models import ModelSize

#: Tokens of the prompt.
N_PROMPT = 3
#: Of a batch, as `benchmarks.detect_gptj` times them.
STAGES = ("encode", "generate", "forward, backward and tops", "exemplars and statistics")


@dataclass(frozen=True, slots=True)
class Work:
    """What has to be computed and moved.

    Attributes:
        operations: Of products and attention, a multiplication and an addition as two.
        n_bytes: To and from the device's memory.
    """

    operations: float
    n_bytes: float

    def seconds(self, operations_per_s: float, bytes_per_s: float) -> float:
        """Give the time of the operations or of the bytes, whichever take longer."""
        return max(self.operations / operations_per_s, self.n_bytes / bytes_per_s)


def image_floors(size: ModelSize, batch_size: int, itemsize: int = 2) -> dict[str, Work]:
    """Count the work of each of STAGES, an image in a batch of `batch_size`."""
    n_positions = size.n_patches + N_PROMPT
    block, d = size.n_block_weights, size.d_model
    head = d * size.d_vocab
    n_steps = size.max_new_tokens - 1
    cache = 2 * size.n_layers * d * (n_positions + n_steps / 2)
    step_bytes = itemsize * ((block + head) / batch_size + cache)
    # Backward ends at the first layer's z: its first matrix and its attention need no gradient.
    backward = block - 8 * d**2
    activation_bytes = itemsize * size.n_layers * size.d_mlp * size.n_patches
    encoder = size.encoder_depth * 12 * size.encoder_width**2
    works = (
        Work(2 * encoder * (size.n_patches + 1), 0),
        Work(2 * (block + head) * n_steps, n_steps * step_bytes),
        Work(2 * (block + backward) * n_positions, 2 * activation_bytes),
        Work(0, activation_bytes),
    )
    return dict(zip(STAGES, works, strict=True))
