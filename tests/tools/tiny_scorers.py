"""Models of random weights that score texts: a BERT and a CLIP of eight words, and a RoBERTa.

`write_hub_bert`, `write_hub_roberta` and `write_hub_clip` write the files of google-bert's
bert-base-uncased, FacebookAI's roberta-large and openai's clip-vit-base-patch32 as they are on the
hub, with the same names of weights, only small.
"""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    BertConfig,
    BertForPreTraining,
    BertModel,
    CLIPConfig,
    CLIPImageProcessor,
    CLIPModel,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaForMaskedLM,
)

WORDS = ["[CLS]", "[SEP]", "[UNK]", "[PAD]", "boat", "dog", "water", "on"]


def write_tiny_bert(path: Path) -> None:
    """Write a BERT and its tokenizer into a folder."""
    torch.manual_seed(0)
    BertModel(_bert_config(), add_pooling_layer=False).save_pretrained(path)
    _tokenizer().save_pretrained(path)


def _bert_config() -> BertConfig:
    return BertConfig(
        vocab_size=len(WORDS), hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=32, max_position_embeddings=80,
    )  # fmt: skip


def write_hub_bert(path: Path) -> None:
    """Write a BERT with the heads of its pretraining, and norms called gamma and beta."""
    torch.manual_seed(2)
    config = _bert_config()
    config.architectures = ["BertForMaskedLM"]
    config.save_pretrained(path)
    weights = BertForPreTraining(config).state_dict()
    old = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace(
            "LayerNorm.bias", "LayerNorm.beta"
        ): value.clone()
        for name, value in weights.items()
    }
    save_file(old, path / "model.safetensors", metadata={"format": "pt"})
    _tokenizer().save_pretrained(path)
    (path / "vocab.txt").write_text("\n".join(WORDS) + "\n", encoding="utf-8")
    (path / "tokenizer_config.json").write_text('{"do_lower_case": true, "model_max_length": 512}')


def write_hub_roberta(path: Path) -> None:
    """Write a RoBERTa with its language model's head, positions that are a buffer, and a pickle."""
    torch.manual_seed(3)
    path.mkdir(parents=True, exist_ok=True)
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=special, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    backend.train_from_iterator(["a boat on the water and a dog on the boat"] * 9, trainer)
    pairs = [("</s>", 2), ("<s>", 0)]
    backend.post_processor = processors.RobertaProcessing(*pairs, add_prefix_space=False)
    backend.save(str(path / "tokenizer.json"))
    model = json.loads((path / "tokenizer.json").read_text(encoding="utf-8"))["model"]
    (path / "vocab.json").write_text(json.dumps(model["vocab"]), encoding="utf-8")
    merges = "\n".join(" ".join(pair) for pair in model["merges"])
    (path / "merges.txt").write_text(f"#version: 0.2\n{merges}\n", encoding="utf-8")
    (path / "tokenizer_config.json").write_text('{"model_max_length": 512}', encoding="utf-8")
    config = RobertaConfig(
        vocab_size=len(model["vocab"]), hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=32, max_position_embeddings=514, type_vocab_size=1,
        architectures=["RobertaForMaskedLM"], pad_token_id=1, bos_token_id=0, eos_token_id=2,
    )  # fmt: skip
    config.save_pretrained(path)
    weights = RobertaForMaskedLM(config).state_dict()
    weights["roberta.embeddings.position_ids"] = torch.arange(514)[None]
    torch.save(weights, path / "pytorch_model.bin")


def write_hub_clip(path: Path) -> None:
    """Write a CLIP of before 2023: a pickle, positions that are buffers, sizes that are numbers."""
    torch.manual_seed(4)
    path.mkdir(parents=True, exist_ok=True)
    config = _clip_config()
    config.save_pretrained(path)
    weights = CLIPModel(config).state_dict()
    weights["text_model.embeddings.position_ids"] = torch.arange(16)[None]
    weights["vision_model.embeddings.position_ids"] = torch.arange(17)[None]
    torch.save(weights, path / "pytorch_model.bin")
    _tokenizer().save_pretrained(path)
    processor = {
        "crop_size": 32, "do_center_crop": True, "do_normalize": True, "do_resize": True,
        "feature_extractor_type": "CLIPFeatureExtractor", "image_mean": [0.48, 0.46, 0.41],
        "image_std": [0.27, 0.26, 0.28], "resample": 3, "size": 32,
    }  # fmt: skip
    (path / "preprocessor_config.json").write_text(json.dumps(processor), encoding="utf-8")


def write_tiny_clip(path: Path) -> None:
    """Write a CLIP, its tokenizer and its image processor into a folder."""
    torch.manual_seed(1)
    CLIPModel(_clip_config()).save_pretrained(path)
    _tokenizer().save_pretrained(path)
    size = {"height": 32, "width": 32}
    CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=size).save_pretrained(path)


def _clip_config() -> CLIPConfig:
    width = {"hidden_size": 16, "intermediate_size": 32, "num_attention_heads": 2}
    depth = {"num_hidden_layers": 2}
    words = {"vocab_size": len(WORDS), "eos_token_id": 1, "bos_token_id": 0, "pad_token_id": 3}
    return CLIPConfig(
        text_config={**width, **depth, **words, "max_position_embeddings": 16},
        vision_config={**width, **depth, "image_size": 32, "patch_size": 8},
        projection_dim=12,
    )


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
