"""A linear probe of the encoder: a diagnosis, never a training signal.

A softmax regression from frozen patch features to the concept that covers the patch, fitted on
training pictures, judged on others; beside it the same probe of the whole picture's scene would
say little, so only object patches are asked.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


def patch_probe(
    features: tuple[Tensor, Tensor], labels: tuple[Tensor, Tensor], *, n_steps: int = 1000
) -> float:
    """Fit on the first of each pair and give the accuracy on the second, over labelled patches.

    Features are (image, patch, width), labels (image, patch), -1 for patches without an object.
    """
    mean, std = features[0].mean((0, 1)), features[0].std((0, 1)) + 1e-6
    seen, held = [((part - mean) / std).flatten(0, 1) for part in features]
    seen_labels, held_labels = [part.flatten().long() for part in labels]
    seen, seen_labels = seen[seen_labels >= 0], seen_labels[seen_labels >= 0]
    held, held_labels = held[held_labels >= 0], held_labels[held_labels >= 0]
    torch.manual_seed(0)
    probe = nn.Linear(seen.shape[1], int(seen_labels.max()) + 1)
    optimizer = torch.optim.AdamW(probe.parameters(), lr=1e-2, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, total_iters=n_steps)
    for _ in range(n_steps):
        batch = torch.randint(len(seen), (2048,))
        loss = functional.cross_entropy(probe(seen[batch]), seen_labels[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    with torch.no_grad():
        return (probe(held).argmax(-1) == held_labels).float().mean().item()
