"""The embedded tokenizer: nothing is lost, and the sentences' words are tokens."""

from __future__ import annotations

from pathlib import Path

from transformers import AutoTokenizer

from builder.everyday_tokenizer import END_OF_TEXT, everyday_words, train_tokenizer

TEXT = "A dog, näturlich!\n\t犬  \x00"


def test_any_text_comes_back() -> None:
    tokenizer = train_tokenizer()
    assert tokenizer.decode(tokenizer.encode(TEXT)) == TEXT


def test_words_are_tokens_with_their_leading_space() -> None:
    tokenizer = train_tokenizer()
    assert tokenizer.tokenize(" elephant") == ["Ġelephant"]
    known = set(tokenizer.get_vocab())
    words = everyday_words()
    assert len(words) > 700
    assert sum(f"Ġ{word}" in known for word in words) >= 0.95 * len(words)
    assert tokenizer.convert_ids_to_tokens(0) == END_OF_TEXT
    assert tokenizer.bos_token_id == tokenizer.eos_token_id == 0


def test_saved_it_loads_by_transformers_alone(tmp_path: Path) -> None:
    tokenizer = train_tokenizer()
    tokenizer.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    assert loaded.get_vocab() == tokenizer.get_vocab()
    assert loaded.encode(TEXT) == tokenizer.encode(TEXT)
