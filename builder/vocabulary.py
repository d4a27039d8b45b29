"""Every token of a tokenizer as the model writes it.

`decode([id])` will not do: it drops a leading space in some families and turns bytes that are
only a part of a character into one replacement mark for all. So tokens are read in the
tokenizer's own alphabet and turned into bytes. Bytes that are no UTF-8 are written `\\xNN`.
"""

from __future__ import annotations

import json
import re
from typing import Any

import pyarrow as pa

from atlas_db.errors import CaptionerError

_BYTE_PIECE = re.compile(r"<0x([0-9A-Fa-f]{2})>")


def byte_alphabet() -> dict[str, int]:
    """Give the byte that each character of a byte-level BPE stands for.

    Bytes with a visible Latin-1 character stand for themselves; the rest, in rising order, are
    characters from U+0100 on (Radford et al. 2019, the GPT-2 tokenizer).
    """
    visible = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [byte for byte in range(256) if byte not in set(visible)]
    alphabet = {chr(byte): byte for byte in visible}
    return alphabet | {chr(256 + i): byte for i, byte in enumerate(hidden)}


def read_bytes(raw: bytes) -> str:
    """Read bytes as UTF-8; what is none becomes `\\xNN`."""
    return raw.decode("utf-8", errors="backslashreplace")


def vocabulary_table(tokenizer: Any) -> pa.Table:
    """Make the run folder's `vocabulary`: token id, text, whether it is a special token.

    Args:
        tokenizer: A fast tokenizer of transformers.

    Raises:
        CaptionerError: The tokenizer is neither byte-level nor of SentencePiece's kind.
    """
    n_tokens = len(tokenizer)
    special = set(tokenizer.all_special_ids)
    added = set(tokenizer.get_added_vocab().values())
    to_text = _reader(tokenizer)
    pieces = tokenizer.convert_ids_to_tokens(list(range(n_tokens)))
    texts = [
        "" if piece is None else piece if i in added else to_text(piece)
        for i, piece in enumerate(pieces)
    ]
    return pa.table(
        {
            "token_id": pa.array(range(n_tokens), pa.int32()),
            "token": pa.array(texts, pa.string()),
            "is_special": pa.array([i in special for i in range(n_tokens)], pa.bool_()),
        }
    )


def _reader(tokenizer: Any) -> Any:
    """Choose how pieces become text by the tokenizer's own decoder."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    decoder = "" if backend is None else json.dumps(json.loads(backend.to_str())["decoder"])
    if "ByteLevel" in decoder:
        alphabet = byte_alphabet()
        return lambda piece: read_bytes(bytes(alphabet[c] for c in piece if c in alphabet))
    if "ByteFallback" in decoder or "Metaspace" in decoder or "▁" in decoder:
        return _sentencepiece_text
    raise CaptionerError(
        f"the tokenizer ({type(tokenizer).__name__}) is neither byte-level BPE nor of "
        "SentencePiece's kind, so its tokens cannot be written out. Use the model's fast tokenizer "
        "(a tokenizer.json in its folder)."
    )


def _sentencepiece_text(piece: str) -> str:
    match = _BYTE_PIECE.fullmatch(piece)
    if match:
        return read_bytes(bytes([int(match.group(1), 16)]))
    return piece.replace("▁", " ")


def caption_pieces(tokenizer: Any, token_ids: list[int]) -> list[str]:
    """Say what text each token adds when a caption is decoded from the left.

    Joined, the pieces are the decoded caption; a token that completes no character adds "".
    """
    pieces, text = [], ""
    for stop in range(1, len(token_ids) + 1):
        longer = _decode(tokenizer, token_ids[:stop])
        if not longer.startswith(text) or longer.endswith("\N{REPLACEMENT CHARACTER}"):
            pieces.append("")
            continue
        pieces.append(longer[len(text) :])
        text = longer
    rest = _decode(tokenizer, token_ids)
    if pieces and rest != text:
        pieces[-1] += rest[len(text) :] if rest.startswith(text) else ""
    return pieces


def _decode(tokenizer: Any, token_ids: list[int]) -> str:
    return tokenizer.decode(token_ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
