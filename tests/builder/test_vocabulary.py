"""Tokens as the model writes them, in both kinds of tokenizer."""

from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from atlas_db.errors import CaptionerError
from builder.vocabulary import byte_alphabet, caption_pieces, vocabulary_table

BYTES = {byte: character for character, byte in byte_alphabet().items()}


def byte_level(tokens: list[bytes]) -> Any:
    vocabulary = {"".join(BYTES[b] for b in token): i for i, token in enumerate(tokens)}
    backend = Tokenizer(models.BPE(vocabulary, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<|endoftext|>")


def texts(tokenizer: Any) -> list[str]:
    return vocabulary_table(tokenizer)["token"].to_pylist()


def test_the_alphabet_is_the_tokenizers_own() -> None:
    assert set(byte_alphabet()) == set(pre_tokenizers.ByteLevel.alphabet())
    assert sorted(byte_alphabet().values()) == list(range(256))


def test_byte_level_tokens() -> None:
    tokens = [b" water", b"Water", b"\n\t", "café".encode(), b"\xe2\x96", b"<b>&", b" "]
    tokenizer = byte_level(tokens)
    expected = [" water", "Water", "\n\t", "café", r"\xe2\x96", "<b>&", " ", "<|endoftext|>"]
    assert texts(tokenizer) == expected
    assert vocabulary_table(tokenizer)["is_special"].to_pylist() == [False] * 7 + [True]


def test_sentencepiece_tokens() -> None:
    vocabulary = {"▁water": 0, "Water": 1, "<0xE2>": 2, "<0x41>": 3, "▁": 4}
    backend = Tokenizer(models.BPE(vocabulary, [], byte_fallback=True))
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend)
    assert texts(tokenizer) == [" water", "Water", r"\xe2", "A", " "]


def test_another_kind_is_refused() -> None:
    backend = Tokenizer(models.WordPiece({"[UNK]": 0, "##er": 1}, unk_token="[UNK]"))
    backend.decoder = decoders.WordPiece()
    with pytest.raises(CaptionerError, match="neither byte-level BPE nor of SentencePiece's kind"):
        vocabulary_table(PreTrainedTokenizerFast(tokenizer_object=backend))


def test_pieces_join_to_the_caption() -> None:
    euro = "€".encode()
    tokenizer = byte_level([b" a", b" caf", "é".encode(), b" for ", euro[:1], euro[1:], b"5"])
    ids = [0, 1, 2, 3, 4, 5, 6]
    pieces = caption_pieces(tokenizer, ids)
    assert pieces == [" a", " caf", "é", " for ", "", "€", "5"]
    assert "".join(pieces) == tokenizer.decode(ids)


def test_a_caption_that_ends_in_half_a_character() -> None:
    euro = "€".encode()
    tokenizer = byte_level([b" dog", euro[:2]])
    pieces = caption_pieces(tokenizer, [0, 1])
    assert "".join(pieces) == tokenizer.decode([0, 1]) == " dog\N{REPLACEMENT CHARACTER}"


def test_no_tokens_no_pieces() -> None:
    assert caption_pieces(byte_level([b" dog"]), []) == []
