"""Decoding of all units, both signs, against the bare matrix product of the same chunks.

python -m benchmarks.decode_units
"""

from __future__ import annotations

import torch

from benchmarks.detect_gptj import stopwatch
from benchmarks.random_models import SIZES, random_captioner
from benchmarks.report import complete, parser, report
from builder import decoding
from builder.decoding import decode_units, float32_product, unit_neighbours
from builder.language_model import LanguageModel


def main() -> None:
    """Measure, print, write."""
    made = parser(__doc__ or "", SIZES)
    made.add_argument("--neighbours", action="store_true", help="time the units' neighbours too")
    arguments = complete(made.parse_args())
    size = SIZES[arguments.size]
    captioner = random_captioner(size, arguments.device, getattr(torch, arguments.dtype))
    model = LanguageModel(captioner.model)
    next(decode_units(model, size.d_vocab))
    with stopwatch(captioner.device) as whole:
        for _ in decode_units(model, size.d_vocab):
            pass
    with stopwatch(captioner.device) as bare:
        multiply(model, size.d_vocab)
    results = {
        "units": model.n_units,
        "tokens": size.d_vocab,
        "decode, s": whole.seconds,
        "bare product, s": bare.seconds,
        "times the bare product": whole.seconds / bare.seconds,
        "TFLOP": 2 * model.n_units * model.d_model * size.d_vocab / 1e12,
    }
    if arguments.neighbours:
        with stopwatch(captioner.device) as watch:
            unit_neighbours(model)
        results["neighbours, s"] = watch.seconds
    report("decode_units", arguments, results)


@torch.no_grad()
def multiply(model: LanguageModel, n_tokens: int) -> None:
    """Make the same logits, and do nothing with them."""
    columns = model.unembedding[:n_tokens].T
    for layer in model.layers:
        for rows in model.write_vectors(layer).split(decoding._rows_in_chunk(n_tokens)):
            float32_product(rows, columns)


if __name__ == "__main__":
    main()
