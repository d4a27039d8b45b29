"""The miniature's tokenizer: byte-level BPE in GPT-2's manner, its tokens mostly whole words."""

from __future__ import annotations

import re

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from builder.miniature.corpus import documents
from builder.miniature.topics import topics

END_OF_TEXT = "<|endoftext|>"
_WORD_WEIGHT = 30


def corpus_words(seed: int = 0, n_documents: int = 400) -> set[str]:
    """Give the words of the corpus: those of all topics, and those met in a sample of it."""
    words = {form for topic in topics() for form in (*topic.forms, topic.kind)}
    for text in documents(seed, 0, n_documents):
        words.update(re.findall("[A-Za-z]+", text))
    return words


def train_tokenizer(vocabulary_size: int, seed: int = 0) -> PreTrainedTokenizerFast:
    """Train on the corpus's words, each with a space in front, and on a sample of documents."""
    lines = [f" {word}" for word in sorted(corpus_words(seed)) for _ in range(_WORD_WEIGHT)]
    lines += documents(seed, 0, 600)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary_size,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(lines, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=END_OF_TEXT,
        eos_token=END_OF_TEXT,
        clean_up_tokenization_spaces=False,
    )
