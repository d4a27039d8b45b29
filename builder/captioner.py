"""A captioner: a frozen encoder, one linear layer, and a frozen language model that reads them.

    captioner = load_captioner("gptj-beit", device="cuda")
    patches = captioner.encode(pixels)            # (batch, n_patch, d_model)
    inputs = captioner.sequence(patches)          # (batch, pos, d_model): [BOS] patches prompt
    logits = captioner.model(inputs_embeds=inputs).logits

Everything that can be checked before the long part starts is checked here, on the weights' shapes
alone wherever that is enough.

Source: Schwettmann et al. (arXiv 2308.01544), section 2; Merullo et al. (arXiv 2209.15162). LiMBeR
puts the image's vectors first, the prompt's after them, and no BOS.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from atlas_db.errors import CaptionerError
from builder.adapter import load_adapter
from builder.captioner_config import CAPTIONER_FILE, DTYPES, CaptionerConfig, read_config
from builder.device_memory import check_memory, pass_memory
from builder.devices import float32_sums
from builder.encoders import PatchEncoder, feature_shape, load_encoder
from builder.generation import PLAIN, SequenceRules
from builder.loading import load_pretrained
from builder.parts import files_sha256, hub_folder, local_path, part_files
from builder.presets import PRESET_NAMES, preset_config, preset_folder

#: Embeddings beyond the tokenizer's tokens are padding; no published model has a tenth of it.
LEAST_SHARE_OF_TOKENS = 0.75
TOKENIZER_FILES = ("tokenizer.json", "vocab.json", "merges.txt", "tokenizer.model", "vocab.txt")


@dataclass(frozen=True, kw_only=True)
class Captioner:
    """The three parts, loaded on one device in one dtype; no parameter needs a gradient."""

    config: CaptionerConfig
    model: Any
    tokenizer: Any
    encoder: PatchEncoder
    adapter: nn.Linear
    device: torch.device
    dtype: torch.dtype
    files: Mapping[str, tuple[Path, ...]]

    @property
    def d_model(self) -> int:
        """Width of the language model's input embeddings."""
        return self.model.get_input_embeddings().embedding_dim

    @property
    def rules(self) -> SequenceRules:
        """How positions count; vision-language models have rules of their own."""
        return PLAIN

    @property
    def prefix_ids(self) -> list[int]:
        """Tokens before the patches: BOS where the captioner has one, else none."""
        return [self.tokenizer.bos_token_id] if self.config.bos else []

    @property
    def patch_positions(self) -> slice:
        """Where the patches stand in the sequence."""
        start = len(self.prefix_ids)
        return slice(start, start + self.config.n_patch)

    @property
    def prompt_ids(self) -> list[int]:
        """The prompt's tokens, without special ones."""
        return self.tokenizer.encode(self.config.prompt, add_special_tokens=False)

    @torch.no_grad()
    def encode(self, pixels: Tensor) -> Tensor:
        """Turn normalised pixels into the language model's input vectors for the patches.

        `pixels` is float32 (batch, 3, image_px, image_px) on any device. Gives
        (batch, n_patch, d_model) on the captioner's device, in its dtype, with no graph.
        """
        pixels = pixels.to(device=self.device, dtype=self.dtype, non_blocking=True)
        with float32_sums():
            projected = self.adapter(self.encoder(pixels))
        return projected.reshape(len(pixels), self.config.n_patch, self.d_model)

    def sequence(self, patches: Tensor) -> Tensor:
        """Put BOS (where the captioner has one) before the patches and the prompt after them.

        `patches` is (batch, n_patch, d_model); gives (batch, pos, d_model). The graph of
        `patches`, if they have one, is kept.
        """
        before = self.prefix_ids
        ids = torch.tensor(before + self.prompt_ids, device=self.device)
        table = self.model.get_input_embeddings()
        words = self.rules.embed(table, ids).expand(len(patches), -1, -1)
        return torch.cat([words[:, : len(before)], patches, words[:, len(before) :]], dim=1)

    def part_hashes(self) -> dict[str, str]:
        """Hash the files of each part: language_model, encoder, adapter; hexadecimal SHA-256.

        Weights, configuration and tokenizer count; reads every file once, gigabytes for a big
        model.
        """
        return {name: self.part_hash(name) for name in self.files}

    def part_hash(self, name: str) -> str:
        """Hash the files of one part."""
        return files_sha256(self.files[name])


def load_captioner(
    source: str | Path, *, device: str | torch.device = "cpu", dtype: str | None = None
) -> Captioner:
    """Load a captioner from its folder or by the name of a preset.

    `dtype` is one of DTYPES; None takes the one that captioner.json names. Hub names are taken
    from the hub's cache, and fetched where the hub can be reached.

    Raises:
        CaptionerError: A part is missing, damaged, or does not fit the others; or the device is
            not there.
        ValueError: `dtype` is none of DTYPES.
    """
    folder, config = _find(source)
    dtype = dtype or config.dtype
    if dtype not in DTYPES:
        raise ValueError(f"dtype must be one of {', '.join(DTYPES)}, got {dtype!r}")
    torch_dtype = getattr(torch, dtype)
    device = _device(device)
    if config.is_vision_language:
        from builder.vision_language.captioner import load_vision_language

        return load_vision_language(config, folder, device=device, dtype=torch_dtype)

    adapter_path = local_path(config.adapter, folder) or folder / config.adapter.source
    adapter = load_adapter(adapter_path, device=device, dtype=torch_dtype)
    encoder, encoder_path = load_encoder(config, folder, device=device, dtype=torch_dtype)
    _check_encoder(config, encoder, adapter)

    model_path = local_path(config.language_model, folder) or hub_folder(
        config.language_model.source, config.language_model.revision, folder=folder
    )
    tokenizer = _load_tokenizer(model_path)
    _check_language_model(config, model_path, tokenizer, adapter)
    if device.type == "cuda":
        n_positions = config.n_patch + 32
        needed = pass_memory(model_path, config.n_patch, n_positions, torch_dtype)
        check_memory(needed, torch_dtype, str(device), torch.cuda.mem_get_info(device)[0])
    model = load_pretrained(
        AutoModelForCausalLM, model_path, what="language model", dtype=torch_dtype
    )
    return Captioner(
        config=config,
        model=model.to(device).requires_grad_(False).eval(),
        tokenizer=tokenizer,
        encoder=encoder,
        adapter=adapter,
        device=device,
        dtype=torch_dtype,
        files={
            "language_model": part_files(model_path, TOKENIZER_FILES),
            "encoder": part_files(encoder_path),
            "adapter": part_files(adapter_path),
        },
    )


def _find(source: str | Path) -> tuple[Path, CaptionerConfig]:
    folder = Path(source).expanduser()
    if folder.is_dir():
        return folder, read_config(folder)
    if str(source) in PRESET_NAMES:
        return preset_folder(str(source)), preset_config(str(source))
    raise CaptionerError(
        f"There is no captioner {str(source)!r}: neither a folder with {CAPTIONER_FILE} nor a "
        f"preset ({', '.join(PRESET_NAMES)}). Make a random one to try things with: "
        "`neuron-atlas captioner init-random --family gptj --size tiny DIR`."
    )


def _device(device: str | torch.device) -> torch.device:
    try:
        found = torch.device(device)
        torch.empty(0, device=found)
    except (RuntimeError, AssertionError) as error:
        first_line = str(error).split("\n")[0]
        raise CaptionerError(
            f"The device {str(device)!r} cannot be used: {first_line}. "
            "Use another (`--device cpu` always works), or install PyTorch for this device."
        ) from None
    return found


def _check_encoder(config: CaptionerConfig, encoder: PatchEncoder, adapter: nn.Linear) -> None:
    n_patch, width = feature_shape(encoder, config.image_px)
    rows, columns = config.grid
    if config.pooling == "none" and n_patch != rows * columns:
        raise CaptionerError(
            f"The encoder {config.encoder.source!r} gives {n_patch} features for an image of "
            f"{config.image_px} px, but 'grid' {rows} x {columns} wants {rows * columns}. Correct "
            "'grid' or 'image_px' in captioner.json."
        )
    if adapter.in_features != width:
        raise CaptionerError(
            f"The adapter {config.adapter.source!r} takes features of width "
            f"{adapter.in_features}, but the encoder {config.encoder.source!r} gives {width}. "
            "Use the adapter that was trained for this encoder."
        )


def _load_tokenizer(path: Path) -> Any:
    if not any((path / name).is_file() for name in TOKENIZER_FILES):
        # transformers makes an empty tokenizer of the model's kind then, and says nothing.
        raise CaptionerError(
            f"{path} has no tokenizer. Put the language model's own tokenizer files "
            "(tokenizer.json and tokenizer_config.json) beside its weights."
        )
    try:
        return AutoTokenizer.from_pretrained(path, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # the only kind that the library tokenizers has
        text = " ".join(str(error).split())[:300]
        raise CaptionerError(
            f"The tokenizer in {path} cannot be loaded: {text}. Put the language model's own "
            "tokenizer files (tokenizer.json and tokenizer_config.json) beside its weights."
        ) from None


def _check_language_model(
    config: CaptionerConfig, path: Path, tokenizer: Any, adapter: nn.Linear
) -> None:
    """Check the fits that need only shapes, before gigabytes of weights are read."""
    n_rows, d_model, n_positions = language_model_shape(path)
    source = config.language_model.source
    wanted = d_model * (config.n_patch if config.pooling == "mean" else 1)
    if adapter.out_features != wanted:
        raise CaptionerError(
            f"The adapter {config.adapter.source!r} gives vectors of width "
            f"{adapter.out_features}, but the language model {source!r} wants {wanted}. Use the "
            "adapter that was trained for this language model."
        )
    n_prompt = _check_tokenizer(config, path, tokenizer, n_rows)
    needed = int(config.bos) + config.n_patch + n_prompt + config.max_new_tokens
    if n_positions is not None and needed > n_positions:
        raise CaptionerError(
            f"{config.n_patch} patches, the prompt and {config.max_new_tokens} new tokens need "
            f"{needed} positions, but the language model {source!r} has {n_positions}. "
            "Lower 'max_new_tokens' in captioner.json, or use an encoder with fewer patches."
        )


def language_model_shape(path: Path) -> tuple[int, int, int | None]:
    """Give the rows and the width of the embedding, and the positions (None: no limit).

    Raises:
        CaptionerError: The folder holds no causal language model.
    """
    try:
        config = AutoConfig.from_pretrained(path, trust_remote_code=False)
        with torch.device("meta"):
            table = AutoModelForCausalLM.from_config(config).get_input_embeddings()
    except (OSError, ValueError, KeyError) as error:
        text = " ".join(str(error).split())[:300]
        raise CaptionerError(
            f"The language model in {path} cannot be used: {text}. Wanted a causal language model "
            "of transformers."
        ) from None
    n_positions = getattr(config, "max_position_embeddings", None)
    return table.num_embeddings, table.embedding_dim, n_positions


def _check_tokenizer(config: CaptionerConfig, path: Path, tokenizer: Any, n_rows: int) -> int:
    """Check that the tokenizer fits the embedding; give the number of the prompt's tokens."""
    if len(tokenizer) > n_rows:
        raise CaptionerError(
            f"The tokenizer in {path} has {len(tokenizer)} tokens, but the language model only "
            f"{n_rows} embeddings. Use the tokenizer that belongs to the model."
        )
    if len(tokenizer) < LEAST_SHARE_OF_TOKENS * n_rows:
        raise CaptionerError(
            f"The tokenizer in {path} has {len(tokenizer)} tokens, but the language model "
            f"{n_rows} embeddings: the others would be no token's. Use the tokenizer that belongs "
            "to the model."
        )
    if config.bos and tokenizer.bos_token_id is None:
        raise CaptionerError(
            f"captioner.json sets 'bos', but the tokenizer in {path} has no BOS token. "
            "Set 'bos' to false, or use the model's own tokenizer."
        )
    n_prompt = len(tokenizer.encode(config.prompt, add_special_tokens=False))
    if n_prompt == 0:
        raise CaptionerError(
            f"The tokenizer in {path} makes no tokens of the prompt {config.prompt!r}. Use the "
            "tokenizer that belongs to the model."
        )
    return n_prompt
