"""Decoding of all units, both signs, against the bare matrix product.

    python -m benchmarks.decode_units

The bare product makes the same logits and does nothing with them, in chunks of two sizes: those of
the decoding, and larger ones. Each is timed several times in turn; the best of each counts, and the
decoding is set against the faster product. On a CPU seconds are the processor's: on a machine that
does other things, those of the clock say what these were.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from benchmarks.detect_gptj import stopwatch
from benchmarks.random_models import SIZES, random_captioner
from benchmarks.report import complete, parser, report
from builder.decoding import (
    decode_units,
    float32_product,
    rows_in_chunk,
    unembedding_columns,
    unit_neighbours,
)
from builder.language_model import LanguageModel

#: Logits of a large chunk.
_LARGE = 2**26
#: How often each is timed.
N_TURNS = 15


def main() -> None:
    """Measure, print, write."""
    made = parser(__doc__ or "", SIZES)
    made.add_argument("--neighbours", action="store_true", help="time the units' neighbours too")
    arguments = complete(made.parse_args())
    size = SIZES[arguments.size]
    captioner = random_captioner(size, arguments.device, getattr(torch, arguments.dtype))
    model = LanguageModel(captioner.model)
    n_tokens = size.d_vocab
    columns = unembedding_columns(model, n_tokens)
    own_rows = rows_in_chunk(n_tokens, columns.device)

    def decode() -> None:
        for _ in decode_units(model, n_tokens):
            pass

    runs: dict[str, Callable[[], object]] = {
        "decode": decode,
        "same chunks": lambda: multiply(model, columns, own_rows),
        "large chunks": lambda: multiply(model, columns, max(own_rows, _LARGE // n_tokens)),
    }
    seconds = best_in_turn(runs, captioner.device)
    bare = min(seconds["same chunks"], seconds["large chunks"])
    results = {
        "units": model.n_units,
        "tokens": n_tokens,
        "width": model.d_model,
        "decode, s": seconds["decode"],
        "bare product, s": bare,
        "times the bare product": seconds["decode"] / bare,
        "bare product of the same chunks, s": seconds["same chunks"],
        "TFLOP": 2 * model.n_units * model.d_model * n_tokens / 1e12,
    }
    if arguments.neighbours:
        neighbours = best_in_turn({"all": lambda: unit_neighbours(model)}, captioner.device, 1)
        results["neighbours, s"] = neighbours["all"]
    report("decode_units", arguments, results)


def best_in_turn(
    runs: Mapping[str, Callable[[], object]], device: torch.device, n_turns: int = N_TURNS
) -> dict[str, float]:
    """Time each in turn, `n_turns` times after one that does not count; give the best of each."""
    seconds = {name: float("inf") for name in runs}
    for turn in range(1 + n_turns):
        for name, run in runs.items():
            with stopwatch(device) as watch:
                run()
            if turn:
                seconds[name] = min(seconds[name], watch.spent)
    return seconds


@torch.no_grad()
def multiply(model: LanguageModel, columns: Tensor, n_rows: int) -> None:
    """Make all logits, `n_rows` units at once, and do nothing with them."""
    for layer in model.layers:
        for rows in model.write_vectors(layer).split(n_rows):
            float32_product(rows.to(columns.dtype), columns)


if __name__ == "__main__":
    main()
