"""Segments of a picture, found from its colours alone: what the encoder's contrast pools over.

Felzenszwalb's graph-based segmentation joins neighbouring pixels of like colour. It knows nothing
of concepts or instances: it splits a thing into parts, and joins things of one colour that touch.
The exact masks of the picture world are never read here.

Source: Felzenszwalb and Huttenlocher, Efficient Graph-Based Image Segmentation (2004); as a
training signal: Henaff et al., DetCon (arXiv 2103.10957).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

#: The largest segments of a picture are numbered from 0; all smaller ones share the last number.
N_SEGMENTS = 16
#: Segments are stored at half the picture's resolution.
STRIDE_PX = 2
_SCALE = 800.0
_SIGMA = 1.0
_MIN_PX = 60


def find_segments(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Segment one picture (px, px, 3) into numbers (px / 2, px / 2), the largest segment 0."""
    # Only the recipe needs scikit-image, not those who use the trained weights.
    from skimage.segmentation import felzenszwalb

    found = felzenszwalb(pixels, scale=_SCALE, sigma=_SIGMA, min_size=_MIN_PX)
    _, numbers, sizes = np.unique(found, return_inverse=True, return_counts=True)
    rank = np.empty(len(sizes), np.int64)
    rank[np.argsort(-sizes, kind="stable")] = np.arange(len(sizes))
    ranked = np.minimum(rank[numbers.reshape(found.shape)], N_SEGMENTS - 1).astype(np.uint8)
    return ranked[1::STRIDE_PX, 1::STRIDE_PX]
