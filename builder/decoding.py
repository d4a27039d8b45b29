"""What the weights alone say of every unit: decoded tokens and neighbours.

Unit k writes its row of W_out into the residual stream. Its decoding is
softmax(W_U W_out[k]), the ten most probable tokens (Schwettmann et al. 2023, section 2.2), and
here also the ten that it suppresses most, softmax(-W_U W_out[k]).

Whether the final norm comes first is not said in the paper. The default is without: the formula
is taken as printed, and the norm would divide by the length of one write vector where the model
divides by that of a whole residual stream. `norm="final"` applies it, its bias included; the
unembedding's bias, the same for all units, is left out in both.

Products are made in chunks, on the captioner's device, from the weights as they are, with sums and
logits in float32; of each chunk only the greatest values are kept. Nothing of units x vocabulary
or units x units is ever held.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa
import torch
from torch import Tensor

from atlas_db.run_format import N_NEIGHBOURS, N_TOKENS
from builder.language_model import LanguageModel
from builder.top_k import top_k, top_k_of_both_signs

#: Of one chunk's logits or cosines; a few such tensors are alive at once. A CPU's stay in its last
#: cache, so long as a chunk has rows enough for a quick product. The host waits for a GPU three
#: times a chunk, so those are large, where there is room.
_CHUNK_BYTES = {"cpu": 2**23}
_MOST_BYTES_ON_GPU = 2**30
_SHARE_OF_FREE_BYTES = 1 / 16
_LEAST_ROWS = 64
NORMS = ("none", "final")
#: Beyond such a difference of logits the inverse of a probability, summed over a vocabulary of up
#: to a million tokens, may be more than float32 holds.
_MOST_SPREAD = 60


def float32_product(rows: Tensor, columns: Tensor) -> Tensor:
    """Multiply (n, d) by (d, m) with float32 sums and a float32 result; float64 stays float64."""
    if rows.dtype in (torch.bfloat16, torch.float16):
        if rows.device.type == "cuda":
            return torch.mm(rows, columns, out_dtype=torch.float32)
        rows, columns = rows.float(), columns.float()
    return rows @ columns


def rows_in_chunk(n_columns: int, device: torch.device) -> int:
    """Say how many rows to multiply at once with so many columns."""
    n_bytes = _CHUNK_BYTES.get(device.type, _MOST_BYTES_ON_GPU)
    if device.type == "cuda":
        n_free = torch.cuda.mem_get_info(device)[0]
        n_bytes = min(n_bytes, int(n_free * _SHARE_OF_FREE_BYTES))
    return max(_LEAST_ROWS, n_bytes // (4 * n_columns))


def unembedding_columns(model: LanguageModel, n_tokens: int) -> Tensor:
    """Give the unembedding of the tokens, (d_model, n_tokens), in a type to multiply with."""
    columns = model.unembedding[:n_tokens].T
    if columns.device.type == "cpu":  # once, and not for every chunk
        columns = columns.to(torch.promote_types(columns.dtype, torch.float32))
    return columns


@torch.no_grad()
def decode_units(
    model: LanguageModel, n_tokens: int, *, norm: str = "none", k: int = N_TOKENS
) -> Iterator[pa.Table]:
    """Decode every unit, both signs; a table of `unit_tokens` for each layer.

    Args:
        model: Its unembedding's first `n_tokens` rows are tokens; the rest is padding.
        n_tokens: Size of the tokenizer's vocabulary.
        norm: `none` or `final`: whether the final norm is applied to the write vector.
        k: Tokens for each sign.

    Raises:
        ValueError: `norm` is neither.
    """
    if norm not in NORMS:
        raise ValueError(f"norm must be one of {', '.join(NORMS)}, got {norm!r}")
    columns = unembedding_columns(model, n_tokens)
    k = min(k, n_tokens)
    for layer in model.layers:
        vectors = model.write_vectors(layer)
        found = []
        for rows in vectors.split(rows_in_chunk(n_tokens, vectors.device)):
            rows = model.final_norm(rows) if norm == "final" else rows
            found.append(_decode(float32_product(rows.to(columns.dtype), columns), k))
        yield _token_table(layer * model.d_mlp, *map(torch.cat, zip(*found, strict=True)))


def _decode(logits: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
    """Give token ids, logits and probabilities of both signs from logits (n, vocabulary).

    Overwrites `logits`.

    Returns:
        (n, 2, k) each: promoted tokens, then suppressed ones.
    """
    top, token_ids = top_k_of_both_signs(logits, k)
    spread = (top[:, 0, 0] - top[:, 1, 0]).max()
    if spread >= _MOST_SPREAD:
        promoted = logits.softmax(dim=1).gather(1, token_ids[:, 0])
        suppressed = logits.neg_().softmax(dim=1).gather(1, token_ids[:, 1])
    else:
        # exp(-l) is 1 / exp(l) but for a factor: one exponential of every logit serves both signs.
        # A CPU's system maps and clears the memory of a new tensor of that size, page by page.
        in_place = logits if logits.device.type == "cpu" else None
        prob = torch.softmax(logits, dim=1, out=in_place)
        promoted = prob.gather(1, token_ids[:, 0])
        inverse = prob.reciprocal_()
        suppressed = inverse.gather(1, token_ids[:, 1]) / inverse.sum(dim=1, keepdim=True)
    return token_ids, top, torch.stack([promoted, suppressed], dim=1)


def _token_table(first_uid: int, token_ids: Tensor, logits: Tensor, prob: Tensor) -> pa.Table:
    """Make rows of `unit_tokens` of (units, 2, k) tensors."""
    n_units, _, k = token_ids.shape
    signs = torch.tensor([1, -1], dtype=torch.int8)
    return pa.table(
        {
            "uid": torch.arange(first_uid, first_uid + n_units).repeat_interleave(2 * k).numpy(),
            "sign": signs.repeat_interleave(k).repeat(n_units).numpy(),
            "rank": torch.arange(1, k + 1, dtype=torch.int8).repeat(2 * n_units).numpy(),
            "token_id": token_ids.flatten().cpu().numpy(),
            "logit": logits.flatten().float().cpu().numpy(),
            "prob": prob.flatten().float().cpu().numpy(),
        }
    )


@torch.no_grad()
def write_norms(model: LanguageModel) -> Tensor:
    """Give the length of every unit's write vector: (n_units,) float32, by uid."""
    return torch.cat([_norms(model.write_vectors(i)) for i in model.layers]).cpu()


def _norms(vectors: Tensor) -> Tensor:
    wide = torch.promote_types(vectors.dtype, torch.float32)
    return torch.linalg.vector_norm(vectors, dim=1, dtype=wide).float()


@dataclass(frozen=True, slots=True)
class _Block:
    """Vectors (m, d) and the index of the first."""

    first: int
    vectors: Tensor
    inverse_norms: Tensor


def _block(first: int, vectors: Tensor) -> _Block:
    if vectors.device.type == "cpu" or vectors.dtype == torch.float64:
        vectors = vectors.float()
    return _Block(first, vectors, 1 / _norms(vectors).clamp(min=torch.finfo(torch.float32).tiny))


@torch.no_grad()
def unit_neighbours(model: LanguageModel, k: int = N_NEIGHBOURS) -> pa.Table:
    """Find each unit's nearest others, over all layers, by cosine of the write vectors."""
    blocks = [_block(i * model.d_mlp, model.write_vectors(i)) for i in model.layers]
    found = []
    for block in blocks:
        uids = torch.arange(len(block.vectors), device=block.vectors.device) + block.first
        found.append(_nearest(block.vectors, uids, blocks, min(k, model.n_units - 1)))
    uids = torch.arange(model.n_units)
    return _neighbour_table(("uid", "neighbour_uid"), uids, found)


@torch.no_grad()
def token_neighbours(
    model: LanguageModel, token_ids: Tensor, n_tokens: int, k: int = N_NEIGHBOURS
) -> pa.Table:
    """Find the tokens nearest to each of `token_ids` by cosine of the unembedding's rows."""
    block = _block(0, model.unembedding[:n_tokens])
    token_ids = token_ids.to(block.vectors.device)
    found = [_nearest(block.vectors[token_ids], token_ids, [block], min(k, n_tokens - 1))]
    return _neighbour_table(("token_id", "neighbour_id"), token_ids, found)


def _nearest(
    vectors: Tensor, own: Tensor, blocks: Sequence[_Block], k: int
) -> tuple[Tensor, Tensor]:
    """Take for each of `vectors` (n, d) the k of greatest cosine, itself (`own`, (n,)) left out.

    Returns:
        Cosines and indices, (n, k) each, on the host.
    """
    n_rows = rows_in_chunk(max(len(block.vectors) for block in blocks), vectors.device)
    parts = [
        _nearest_of_chunk(rows, ids, blocks, k)
        for rows, ids in zip(vectors.split(n_rows), own.split(n_rows), strict=True)
    ]
    cosine, index = (torch.cat(column) for column in zip(*parts, strict=True))
    return cosine, index


def _nearest_of_chunk(
    rows: Tensor, own: Tensor, blocks: Sequence[_Block], k: int
) -> tuple[Tensor, Tensor]:
    best: list[Tensor] = []
    index: list[Tensor] = []
    for block in blocks:
        cosine = float32_product(rows, block.vectors.T).mul_(block.inverse_norms)
        # Without seeking the rows out, for which the host would have to wait.
        column = own - block.first
        is_here = (column >= 0) & (column < len(block.vectors))
        at = column.clamp(0, len(block.vectors) - 1)[:, None]
        kept = cosine.gather(1, at).masked_fill_(is_here[:, None], -torch.inf)
        cosine.scatter_(1, at, kept)
        top, where = top_k(cosine, min(k, cosine.shape[1]))
        best.append(top)
        index.append(where + block.first)
    top, at = torch.cat(best, dim=1).sort(dim=1, descending=True, stable=True)
    top, at = top[:, :k], at[:, :k]
    inverse = 1 / _norms(rows).clamp(min=torch.finfo(torch.float32).tiny)
    return (top * inverse[:, None]).cpu(), torch.cat(index, dim=1).gather(1, at).cpu()


def _neighbour_table(
    names: tuple[str, str], rows: Tensor, found: Sequence[tuple[Tensor, Tensor]]
) -> pa.Table:
    cosine, neighbour = (torch.cat(column) for column in zip(*found, strict=True))
    k = cosine.shape[1]
    return pa.table(
        {
            names[0]: rows.cpu().repeat_interleave(k).numpy(),
            "rank": torch.arange(1, k + 1, dtype=torch.int8).repeat(len(rows)).numpy(),
            names[1]: neighbour.flatten().numpy(),
            "cosine": cosine.flatten().numpy(),
        }
    )
