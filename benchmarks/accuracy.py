"""What bfloat16 costs: the same images and captions through float32 and through bfloat16 weights.

    python -m benchmarks.accuracy --size small

Both passes are told the same caption and the same target, so that what is compared is the
attribution and not the captions that a random model happens to write. Both have the bfloat16
model's weights: what differs is the arithmetic.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.random_models import SIZES, ModelSize, random_captioner
from benchmarks.report import complete, parser, report
from builder.attribution import Recorder, TopRows
from builder.captioner import Captioner
from builder.detection import Detector
from builder.fused import fused_kernels
from builder.generation import teacher_forced_logits
from builder.language_model import LanguageModel

#: Between the default sizes: deep and wide enough that rounding adds up.
SIZES = {**SIZES, "mid": ModelSize(12, 512, 8, 32, 4096, 6, 256, 8, 12)}
N_IMAGES = {"full": 16, "mid": 16, "small": 16, "tiny": 4}
N_HEATMAPS = 100


def main() -> None:
    """Measure, print, write."""
    arguments = complete(parser(__doc__ or "", SIZES).parse_args())
    size = SIZES[arguments.size]
    captioner = random_captioner(size, arguments.device, torch.bfloat16)
    n = N_IMAGES[arguments.size]
    shape = (n, captioner.config.n_patch, size.d_model)
    generator = torch.Generator().manual_seed(3)
    scale = captioner.model.get_input_embeddings().weight.float().std().item()
    patches = torch.randn(shape, generator=generator).to(arguments.device) * scale
    tokens = torch.randint(0, size.d_vocab, (n, 4), generator=generator).to(arguments.device)
    halves = attribute(captioner, patches.bfloat16(), tokens)
    captioner.model.float()
    singles = attribute(captioner, patches.bfloat16().float(), tokens)
    report("accuracy", arguments, {"images": n, **compare(singles, halves)})


def attribute(
    captioner: Captioner, patches: Tensor, tokens: Tensor
) -> tuple[TopRows, TopRows, dict[int, Tensor]]:
    """Attribute the last of `tokens`; give top pairs, top units and every layer's activation."""
    model = LanguageModel(captioner.model)
    detector = Detector(model, captioner.tokenizer, prompt_ids=captioner.prompt_ids)
    seen: dict[int, Tensor] = {}

    def sink(layer: int, a: Tensor) -> None:
        seen[layer] = a.float().cpu()

    recorder = Recorder(model, len(patches), slice(0, patches.shape[1]), sink)
    with fused_kernels(captioner.model):
        first_logits, cache = detector.prefill(patches, recorder)
        logits = teacher_forced_logits(captioner.model, first_logits, cache, tokens)
        logit = logits[torch.arange(len(tokens)), -1, tokens[:, -1]]
        has_target = torch.ones(len(tokens), dtype=torch.bool, device=logit.device)
        pairs, units = recorder.backward(logit, has_target, is_last=True)
    return pairs.cpu(), units.cpu(), seen


def compare(singles: Any, halves: Any) -> dict[str, float]:
    """Compare the tops of float32 (`singles`) with those of bfloat16."""
    pairs = [_pairs(rows) for rows in (singles[0], halves[0])]
    units = [_units(rows) for rows in (singles[1], halves[1])]
    rank, error = [], []
    for single, half in zip(*units, strict=True):
        both = sorted(single.keys() & half.keys())
        ours, theirs = (np.array([d[uid] for uid in both]) for d in (single, half))
        rank.append(np.corrcoef(ours.argsort().argsort(), theirs.argsort().argsort())[0, 1])
        error += (np.abs(theirs - ours) / ours).tolist()
    heatmaps = _heatmap_correlations(singles, halves)
    return {
        "top 100 pairs in common": _in_common(pairs),
        "top 100 units in common": _in_common(units),
        "top 10 units in common": _in_common(units, 10),
        "rank correlation of units in common": float(np.mean(rank)),
        "relative error of attributions, median": float(np.median(error)),
        "relative error of attributions, 95th percentile": float(np.percentile(error, 95)),
        "heatmap correlation, median": float(np.median(heatmaps)),
        "heatmap correlation, 5th percentile": float(np.percentile(heatmaps, 5)),
    }


def _units(rows: TopRows) -> list[dict[int, float]]:
    return [
        {int(u): float(g) for u, g in zip(uid, value, strict=True) if u >= 0}
        for uid, value in zip(rows.uid, rows.attribution, strict=True)
    ]


def _pairs(rows: TopRows) -> list[dict[tuple[int, int], float]]:
    return [
        {(int(u), int(p)): float(g) for u, p, g in zip(*columns, strict=True) if u >= 0}
        for columns in zip(rows.uid, rows.patch, rows.attribution, strict=True)
    ]


def _in_common(found: Any, k: int = 100) -> float:
    """Give the mean share of the first k of one that are among the first k of the other."""
    shares = []
    for single, half in zip(*found, strict=True):
        ours, theirs = list(single)[:k], list(half)[:k]
        shares.append(len(set(ours) & set(theirs)) / max(len(ours), 1))
    return float(np.mean(shares))


def _heatmap_correlations(singles: Any, halves: Any) -> list[float]:
    """Correlate the activation maps of each image's top units over the patches."""
    found = []
    d_mlp = singles[2][0].shape[-1]
    for image, uids in enumerate(singles[1].uid.tolist()):
        for uid in uids[:N_HEATMAPS]:
            if uid >= 0:
                layer, unit = divmod(uid, d_mlp)
                maps = [side[2][layer][image, :, unit].numpy() for side in (singles, halves)]
                found.append(float(np.corrcoef(*maps)[0, 1]))
    return found


if __name__ == "__main__":
    main()
