"""Vision-language models: logits and captions of transformers' own, attribution by doing it.

Every test runs over every family of the table.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from small_coco import SPLIT, write_small_coco
from tiny_vision_language import (
    D_MLP,
    N_LAYERS,
    SHAPES,
    VISION_LANGUAGE,
    write_tiny,
    write_tiny_captioner,
)
from torch import Tensor
from transformers import AutoModelForImageTextToText

from atlas_db.errors import CaptionerError
from atlas_db.run_format import DATASET_SCHEMAS
from builder.build import build_run
from builder.captioner import load_captioner
from builder.captioner_config import read_config, write_config
from builder.coco import load_coco
from builder.detection import Detection, Detector
from builder.device_memory import pass_memory
from builder.images import iterate_batches, normalise
from builder.language_model import LanguageModel, count_hooks
from builder.presets import preset_config
from builder.settings import BuildSettings, Execution
from builder.vision_language.captioner import VisionLanguageCaptioner, load_processor
from builder.vision_language.families import FAMILIES
from builder.vision_language.presets import VISION_LANGUAGE_PRESETS
from builder.vision_language.template import process
from neuron_atlas.cli import main

N_NEW = 4


@pytest.fixture(scope="module", params=VISION_LANGUAGE)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny model of each family in turn; its name is the family's."""
    root = tmp_path_factory.mktemp("vision-language") / request.param
    write_tiny_captioner(request.param, root)
    return root


@pytest.fixture(scope="module")
def captioner(folder: Path) -> VisionLanguageCaptioner:
    """In float64, for differences."""
    loaded = load_captioner(folder / "captioner", dtype="float64")
    assert isinstance(loaded, VisionLanguageCaptioner)
    return loaded


@pytest.fixture(scope="module")
def image(captioner: VisionLanguageCaptioner) -> np.ndarray:
    side = captioner.config.image_px
    return np.random.default_rng(1).integers(0, 256, (side, side, 3), np.uint8)


@pytest.fixture(scope="module")
def inputs(folder: Path, captioner: VisionLanguageCaptioner, image: np.ndarray) -> dict[str, Any]:
    """What the model's own processor makes of the image, the question and the answer's start."""
    processor = load_processor(folder / "checkpoint", captioner.family)
    config = captioner.config
    found = process(processor, Image.fromarray(image), config.prompt)
    reply = processor.tokenizer.encode(config.reply, add_special_tokens=False)
    return extended(found, reply, captioner.family.text_type)


def extended(inputs: Any, ids: list[int], text_type: int) -> dict[str, Any]:
    """Go on with the answer: token ids, a mask of ones, types of text."""
    length = inputs["input_ids"].shape[1]
    more = torch.tensor([ids], dtype=torch.int64)
    tails = {"input_ids": more, "attention_mask": torch.ones_like(more)}
    found = {}
    for name, value in inputs.items():
        is_row = value.shape == (1, length)
        tail = tails.get(name, torch.full_like(more, text_type)).to(value.dtype)
        found[name] = torch.cat([value, tail], dim=1) if is_row else value
        if value.is_floating_point():
            found[name] = found[name].double()
    return found


def patches_of(captioner: VisionLanguageCaptioner, image: np.ndarray) -> Tensor:
    return captioner.encode(normalise(image[None], captioner.config))


def detect(captioner: VisionLanguageCaptioner, image: np.ndarray, sink: Any = None) -> Detection:
    detector = Detector(
        LanguageModel(captioner.model),
        captioner.tokenizer,
        prompt_ids=captioner.prompt_ids,
        prefix_ids=captioner.prefix_ids,
        max_new_tokens=N_NEW,
        n_targets=2,
        noun_rule=every_word,
        rules=captioner.rules,
    )
    return detector(patches_of(captioner, image), sink)


def every_word(caption: str) -> list[Any]:
    """Any word is a target: what random models say is no English."""
    from builder.targets import Word

    words, start = [], 0
    for word in caption.split():
        start = caption.index(word, start)
        words.append(Word(word, start, start + len(word), "noun"))
        start += len(word)
    return words


def logits_by_transformers(
    captioner: VisionLanguageCaptioner, inputs: dict[str, Any], ids: list[int]
) -> Tensor:
    """One plain forward pass of the whole model from pixels: logits that predict `ids`."""
    inputs = extended(inputs, ids, captioner.family.text_type)
    logits = captioner.model(**inputs, use_cache=False).logits[0]
    return logits[-len(ids) - 1 : -1]


def greedy_ids(captioner: VisionLanguageCaptioner, inputs: dict[str, Any]) -> list[int]:
    ids: list[int] = []
    for _ in range(N_NEW):
        inputs_so_far = extended(inputs, ids, captioner.family.text_type)
        logits = captioner.model(**inputs_so_far, use_cache=False).logits[0, -1]
        ids.append(int(logits.argmax()))
    return ids


def places(captioner: VisionLanguageCaptioner, rows: Any) -> list[tuple[int, int, int]]:
    found = zip(rows.uid[0].tolist(), rows.patch[0].tolist(), strict=True)
    return [(uid // D_MLP, uid % D_MLP, patch) for uid, patch in found if uid >= 0]


# The sequence ------------------------------------------------------------------------------------


def test_the_table_and_the_tests_have_the_same_families() -> None:
    assert set(FAMILIES) == set(VISION_LANGUAGE)


def test_dimensions(folder: Path, captioner: VisionLanguageCaptioner) -> None:
    model = LanguageModel(captioner.model)
    image_px, grid = SHAPES[folder.name]
    assert (model.n_layers, model.d_mlp) == (N_LAYERS, D_MLP)
    assert captioner.config.grid == grid
    assert captioner.family.grid(captioner.model.config, image_px) == grid
    assert model.d_vocab >= len(captioner.tokenizer)


def test_the_sequence_is_the_processors(
    captioner: VisionLanguageCaptioner, inputs: dict[str, Any]
) -> None:
    ids = inputs["input_ids"][0].tolist()
    image = [captioner.model.config.image_token_id] * captioner.config.n_patch
    assert ids == captioner.prefix_ids + image + captioner.prompt_ids


def test_logits_are_those_of_the_whole_model(
    captioner: VisionLanguageCaptioner, inputs: dict[str, Any], image: np.ndarray
) -> None:
    """From pixels through our packing, sequence and positions, against transformers' forward."""
    model = LanguageModel(captioner.model)
    patches = patches_of(captioner, image)
    before, after = (
        model.embed(torch.tensor([ids], dtype=torch.int64))
        for ids in (captioner.prefix_ids, captioner.prompt_ids)
    )
    embedded = torch.cat([before, patches, after], dim=1)
    rules = captioner.rules
    length, device = embedded.shape[1], embedded.device
    logits = captioner.model(
        inputs_embeds=embedded,
        position_ids=rules.positions(0, length, 1, device),
        **rules.prefill_arguments(1, device),
    ).logits
    expected = captioner.model(**inputs).logits
    assert expected.std() > 0.5
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-4)


def test_captions_are_transformers_own(
    captioner: VisionLanguageCaptioner, inputs: dict[str, Any], image: np.ndarray
) -> None:
    ids = greedy_ids(captioner, inputs)
    assert detect(captioner, image).captions == [captioner.tokenizer.decode(ids)]


def test_the_image_matters(captioner: VisionLanguageCaptioner, image: np.ndarray) -> None:
    other = patches_of(captioner, 255 - image)
    assert (patches_of(captioner, image) - other).abs().max() > 0.1


# Attribution -------------------------------------------------------------------------------------


def with_z(
    captioner: VisionLanguageCaptioner,
    place: tuple[int, int, int],
    change: Any,
    inputs: dict[str, Any],
    ids: list[int],
) -> Tensor:
    """Logits of the whole model from pixels, z of one unit at one image token changed."""
    layer, unit, patch = place
    at = len(captioner.prefix_ids) + patch

    def tap(found: int, z: Tensor) -> Tensor | None:
        if found != layer:
            return None
        changed = z.clone()
        changed[0, at, unit] = change(z[0, at, unit])
        return changed

    with LanguageModel(captioner.model).taps(preactivation=tap):
        return logits_by_transformers(captioner, inputs, ids)


def test_gradients_are_central_differences(
    captioner: VisionLanguageCaptioner, inputs: dict[str, Any], image: np.ndarray
) -> None:
    ids = greedy_ids(captioner, inputs)
    found = detect(captioner, image)
    step = 1e-2
    for result in found.results:
        target = result.targets[0]
        if target is None:
            continue
        rows = places(captioner, result.pairs)
        for row in (0, 3, 20):
            # Five points: norms that compute in float32 leave too much noise for small steps.
            y = {
                n: with_z(captioner, rows[row], lambda z, n=n: z + n * step, inputs, ids)[
                    target.position, ids[target.position]
                ]
                for n in (-2, -1, 1, 2)
            }
            slope = (8 * (y[1] - y[-1]) - (y[2] - y[-2])) / (12 * step)
            gradient = result.pairs.gradient[0, row]
            torch.testing.assert_close(gradient, slope, rtol=1e-2, atol=5e-4)
            expected = result.pairs.z[0, row] * gradient
            torch.testing.assert_close(result.pairs.attribution[0, row], expected)
    assert found.results[0].targets[0] is not None


def test_attribution_approximates_zeroing(
    captioner: VisionLanguageCaptioner, inputs: dict[str, Any], image: np.ndarray
) -> None:
    """The whole model is run again for each of the top pairs, with that unit really set to 0."""
    ids = greedy_ids(captioner, inputs)
    result = detect(captioner, image).results[0]
    target = result.targets[0]
    assert target is not None
    at = (target.position, ids[target.position])
    whole = logits_by_transformers(captioner, inputs, ids)[at]
    rows = places(captioner, result.pairs)[:40]
    effects = torch.stack(
        [whole - with_z(captioner, p, torch.zeros_like, inputs, ids)[at] for p in rows]
    )
    attribution = result.pairs.attribution[0, : len(rows)]
    assert torch.corrcoef(torch.stack([effects, attribution]))[0, 1] > 0.5
    generator = torch.Generator().manual_seed(0)
    sizes = (N_LAYERS, D_MLP, captioner.config.n_patch)
    others = [
        tuple(int(torch.randint(n, (1,), generator=generator)) for n in sizes) for _ in range(20)
    ]
    random = torch.stack(
        [whole - with_z(captioner, p, torch.zeros_like, inputs, ids)[at] for p in others]
    )
    assert effects[:10].mean() > 3 * random.abs().mean()


def test_no_hook_is_left(captioner: VisionLanguageCaptioner, image: np.ndarray) -> None:
    def fail(layer: int, a: Tensor) -> None:
        raise RuntimeError("disk full")

    before = count_hooks(captioner.model)
    with pytest.raises(RuntimeError, match="disk full"):
        detect(captioner, image, fail)
    assert count_hooks(captioner.model) == before


# Heatmaps ----------------------------------------------------------------------------------------

#: What mixes places, by family: attention, and what tells places apart.
MIXES = {
    "llava": ("self_attn.out_proj", "position_embedding", "self_attn.o_proj"),
    "qwen2_5_vl": ("visual.blocks.0.attn.proj", "visual.blocks.1.attn.proj", "self_attn.o_proj"),
    "gemma3": ("self_attn.out_proj", "position_embedding", "self_attn.o_proj"),
    "idefics3": ("self_attn.out_proj", "position_embedding", "self_attn.o_proj"),
    "paligemma": ("self_attn.out_proj", "position_embedding", "self_attn.o_proj"),
}


def test_the_lit_place_is_the_lit_token(folder: Path, tmp_path: Path) -> None:
    """A photograph, black but for one place of the grid, lights that place's token alone.

    Attention adds nothing and there are no positions, so what is tested is the way from the
    photograph's pixels through tiles, merged and averaged patches to the grid.
    """
    captioner = load_captioner(folder / "captioner", dtype="float32")
    with torch.no_grad():
        for part in MIXES[folder.name]:
            found = [p for n, p in captioner.model.named_parameters() if part in n]
            assert found, part
            for parameter in found:
                parameter.zero_()
    rows, columns = captioner.config.grid
    for row in range(rows):
        for column in range(columns):
            heatmap = heatmap_of(captioner, tmp_path, (row, column))
            assert heatmap.argmax() == row * columns + column
            others = np.delete(heatmap, heatmap.argmax())
            assert np.ptp(others) < 0.2 * (heatmap.max() - np.median(others))


def heatmap_of(captioner: Any, folder: Path, place: tuple[int, int]) -> np.ndarray:
    (rows, columns), cell = captioner.config.grid, 20
    pixels = np.zeros((rows * cell, columns * cell, 3), np.uint8)
    row, column = place
    pixels[row * cell : (row + 1) * cell, column * cell : (column + 1) * cell] = 255
    Image.fromarray(pixels).save(folder / "lit.png")
    table = {name: [0] for name in DATASET_SCHEMAS["images"].names}
    table |= {"file": ["lit.png"], "width_px": [columns * cell], "height_px": [rows * cell]}
    table |= {name: [""] for name in ("split", "source_url", "coco_url")}
    images = pa.table(table, schema=DATASET_SCHEMAS["images"])
    (batch,) = iterate_batches(images, folder, captioner.config, batch_size=1, n_workers=0)
    seen: dict[int, Tensor] = {}
    detector = Detector(
        LanguageModel(captioner.model),
        captioner.tokenizer,
        prompt_ids=captioner.prompt_ids,
        prefix_ids=captioner.prefix_ids,
        max_new_tokens=1,
        rules=captioner.rules,
    )
    detector(captioner.encode(batch.pixels), lambda layer, a: seen.setdefault(layer, a))
    a = seen[0][0]  # (patch, unit)
    contrast = a.amax(0) - a.median(0).values
    return a[:, contrast.argmax()].numpy()


# Files -------------------------------------------------------------------------------------------


def test_saved_again_it_gives_the_same_logits(
    folder: Path, captioner: VisionLanguageCaptioner, inputs: dict[str, Any], tmp_path: Path
) -> None:
    captioner.model.save_pretrained(tmp_path)
    again = AutoModelForImageTextToText.from_pretrained(tmp_path, dtype=torch.float64)
    torch.testing.assert_close(again(**inputs).logits, captioner.model(**inputs).logits)


def test_the_memory_of_a_pass_counts_all_weights(
    folder: Path, captioner: VisionLanguageCaptioner
) -> None:
    needed = pass_memory(folder / "checkpoint", captioner.config.n_patch, 64, torch.float64)
    n_weights = sum(parameter.numel() for parameter in captioner.model.parameters())
    assert needed.weights == 8 * n_weights
    assert needed.image > 0
    assert needed.exemplars > 0


def test_an_atlas_is_built(folder: Path, tmp_path: Path) -> None:
    """Through the command that writes captioner.json, to a whole run folder."""
    image_px = SHAPES[folder.name][0]
    result = CliRunner().invoke(
        main,
        [
            *("captioner", "vision-language", str(folder / "checkpoint"), str(tmp_path / "new")),
            *("--image-px", str(image_px), "--dtype", "float32"),
        ],
    )
    assert result.exit_code == 0, result.output
    captioner = load_captioner(tmp_path / "new")
    assert captioner.config.grid == SHAPES[folder.name][1]
    run = build_run(
        captioner,
        load_coco(write_small_coco(tmp_path / "coco", 3), SPLIT),
        tmp_path / "run",
        BuildSettings(images_per_shard=2, noun_rule="lexicon"),
        execution=Execution(batch_size=2, n_workers=0),
    )
    manifest = json.loads((run / "manifest.json").read_text())
    assert manifest["is_complete"]
    assert manifest["model"]["is_gated"]
    assert manifest["captioner"].get("reply", "") == captioner.family.reply
    assert manifest["captioner"]["encoder"]["source"].startswith("vlm:model.")


# Presets -----------------------------------------------------------------------------------------

#: What the published configurations say of the encoder.
PUBLISHED: dict[str, Any] = {
    "llava-1.5-7b": {"vision_config": {"patch_size": 14}},
    "qwen2.5-vl-7b": {"vision_config": {"patch_size": 14, "spatial_merge_size": 2}},
    "gemma-3-4b": {"mm_tokens_per_image": 256},
    "smolvlm-256m": {"vision_config": {"patch_size": 16}, "scale_factor": 4},
    "paligemma-3b": {"vision_config": {"patch_size": 14}},
}


@pytest.mark.parametrize("name", VISION_LANGUAGE_PRESETS)
def test_presets_are_read_back_and_have_the_tables_grid(name: str, tmp_path: Path) -> None:
    config = preset_config(name)
    write_config(tmp_path, config)
    assert read_config(tmp_path) == config
    family = next(
        f
        for f in FAMILIES.values()
        if config.encoder.source == f"vlm:{f.encoder}"
        and config.prompt == f.prompt
        and config.image_px == f.image_px
    )
    published = json.loads(
        json.dumps(PUBLISHED[name]), object_hook=lambda entries: SimpleNamespace(**entries)
    )
    assert family.grid(published, config.image_px) == config.grid


# Misfits -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def llava(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("misfits")
    write_tiny_captioner("llava", root)
    return root


def copied(folder: Path, to: Path) -> Path:
    shutil.copytree(folder, to)
    return to


def edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_a_grid_that_does_not_match_is_refused(llava: Path, tmp_path: Path) -> None:
    folder = copied(llava, tmp_path / "a")
    edit(folder / "captioner" / "captioner.json", grid=[3, 3])
    with pytest.raises(CaptionerError, match=r"makes 16 image tokens .* grid 3 x 3 wants 9"):
        load_captioner(folder / "captioner")


def test_other_pixels_than_the_processors_are_refused(llava: Path, tmp_path: Path) -> None:
    folder = copied(llava, tmp_path / "a")
    edit(folder / "captioner" / "captioner.json", mean=[0.1, 0.2, 0.3])
    with pytest.raises(CaptionerError, match="pixels differ from the captioner's by up to"):
        load_captioner(folder / "captioner")


def test_several_tiles_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An Idefics3 processor that splits images makes four tiles and the whole."""
    write_tiny_captioner("idefics3", tmp_path)
    as_published = replace(FAMILIES["idefics3"], one_tile=None)
    monkeypatch.setitem(FAMILIES, "idefics3", as_published)  # type: ignore[misc]
    with pytest.raises(CaptionerError, match=r"\(5 times as many as .* Wanted one tile"):
        load_captioner(tmp_path / "captioner")


def test_another_number_of_patches_is_refused(tmp_path: Path) -> None:
    """A Qwen processor that makes the image smaller than captioner.json says."""
    write_tiny_captioner("qwen2_5_vl", tmp_path)
    path = tmp_path / "checkpoint" / "processor_config.json"
    content = json.loads(path.read_text())
    content["image_processor"]["size"] = {"shortest_edge": 28 * 28, "longest_edge": 4 * 28 * 28}
    path.write_text(json.dumps(content))
    with pytest.raises(CaptionerError, match=r"\(0\.25 times as many as .* Wanted one tile"):
        load_captioner(tmp_path / "captioner")


def test_a_family_that_is_not_in_the_table_is_named(llava: Path, tmp_path: Path) -> None:
    folder = copied(llava, tmp_path / "a")
    edit(folder / "checkpoint" / "config.json", model_type="blip-2")
    with pytest.raises(CaptionerError, match=r"'blip-2' are not in the table .*llava"):
        load_captioner(folder / "captioner")


def test_missing_processor_files_are_named(llava: Path, tmp_path: Path) -> None:
    folder = copied(llava, tmp_path / "a")
    for path in (folder / "checkpoint").glob("*processor_config.json"):
        path.unlink()
    with pytest.raises(CaptionerError, match="processor"):
        load_captioner(folder / "captioner")


def test_a_captioner_with_unknown_module_names_is_no_adapter(llava: Path) -> None:
    config = read_config(llava / "captioner")
    assert config.is_vision_language
    assert config.adapter.source == "vlm:model.multi_modal_projector"


def test_checkpoints_are_the_same_for_the_same_seed(tmp_path: Path) -> None:
    one, two = (write_tiny("llava", tmp_path / name, seed=4) for name in "ab")
    name = "model.safetensors"
    assert (one / name).read_bytes() == (two / name).read_bytes()
