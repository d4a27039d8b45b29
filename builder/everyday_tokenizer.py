"""A byte-level BPE tokenizer in GPT-2's manner, trained on sentences of the project's own.

The sentences of everyday_sentences.txt speak of some 800 everyday things, deeds and places. Nearly
every word of theirs becomes one token, so that the tokens of a random captioner are words.
"""

from __future__ import annotations

import re
from importlib.resources import files

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

END_OF_TEXT = "<|endoftext|>"


def _sentences() -> str:
    return files("builder").joinpath("everyday_sentences.txt").read_text(encoding="utf-8")


def everyday_words() -> set[str]:
    """Give the words of the embedded sentences, in small letters, of three letters or more."""
    return {word for word in re.findall("[a-z]+", _sentences().lower()) if len(word) >= 3}


def train_tokenizer() -> PreTrainedTokenizerFast:
    """Train the byte-level BPE; the sentences' words become tokens of their own."""
    lines = _sentences().splitlines()
    # Each sentence also with a small first letter, as in the middle of a text.
    sentences = [form for line in lines for form in (line, line[0].lower() + line[1:])]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=4096,
        min_frequency=1,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(sentences, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=END_OF_TEXT,
        eos_token=END_OF_TEXT,
        clean_up_tokenization_spaces=False,
    )
