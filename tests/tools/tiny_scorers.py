"""Models of random weights that score texts: a BERT and a CLIP of eight words."""

from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    BertConfig,
    BertModel,
    CLIPConfig,
    CLIPImageProcessor,
    CLIPModel,
    PreTrainedTokenizerFast,
)

WORDS = ["[CLS]", "[SEP]", "[UNK]", "[PAD]", "boat", "dog", "water", "on"]


def write_tiny_bert(path: Path) -> None:
    """Write a BERT and its tokenizer into a folder."""
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(WORDS), hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=32, max_position_embeddings=80,
    )  # fmt: skip
    BertModel(config, add_pooling_layer=False).save_pretrained(path)
    _tokenizer().save_pretrained(path)


def write_tiny_clip(path: Path) -> None:
    """Write a CLIP, its tokenizer and its image processor into a folder."""
    torch.manual_seed(1)
    width = {"hidden_size": 16, "intermediate_size": 32, "num_attention_heads": 2}
    depth = {"num_hidden_layers": 2}
    words = {"vocab_size": len(WORDS), "eos_token_id": 1, "bos_token_id": 0, "pad_token_id": 3}
    config = CLIPConfig(
        text_config={**width, **depth, **words, "max_position_embeddings": 16},
        vision_config={**width, **depth, "image_size": 32, "patch_size": 8},
        projection_dim=12,
    )
    CLIPModel(config).save_pretrained(path)
    _tokenizer().save_pretrained(path)
    size = {"height": 32, "width": 32}
    CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=size).save_pretrained(path)


def _tokenizer() -> PreTrainedTokenizerFast:
    vocabulary = {word: i for i, word in enumerate(WORDS)}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 0), ("[SEP]", 1)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, cls_token="[CLS]", sep_token="[SEP]", unk_token="[UNK]",
        pad_token="[PAD]",
    )  # fmt: skip
