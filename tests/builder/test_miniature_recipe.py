"""The recipe: losses fall, a stopped training resumes exactly, the folder loads as a captioner."""

import csv
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch

from atlas_db.errors import RunError
from builder.captioner import load_captioner
from builder.miniature.optimizers import Optimizers, Rates
from builder.miniature.picture_cache import GRID, load_cache
from builder.miniature.probe import patch_probe
from builder.miniature.recipe import SIZES, Workshop, load_tokenizer, run_stages
from builder.miniature.segment_codes import cluster
from builder.miniature.train_adapter import (
    PROMPT,
    PictureFeatures,
    start_adapter,
    train_miniature_adapter,
)
from builder.miniature.train_encoder import EncoderRecipe, encode, train_encoder
from builder.miniature.train_language_model import (
    LanguageModelRecipe,
    _activity,
    build_language_model,
    held_out_loss,
    train_language_model,
)
from builder.training.caption_loss import FrozenLanguage, caption_tokens, summed_loss
from builder.training.trainer import TrainingRun

SMOKE = SIZES["smoke"]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    lines: list[str] = []
    made = Workshop(tmp_path_factory.mktemp("miniature"), SMOKE, seed=0, say=lines.append)
    run_stages(made)
    assert [line.split(":")[0] for line in lines] == [
        "pictures", "language-model", "encoder", "adapter", "export"
    ]  # fmt: skip
    return made


def _same(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(left, right) for left, right in pairs)


def _losses(path: Path, column: str) -> list[float]:
    with path.open(newline="") as file:
        return [float(row[column]) for row in csv.DictReader(file)]


def test_the_folder_is_a_captioner_with_a_card(shop: Workshop) -> None:
    captioner = load_captioner(shop.out)
    assert not captioner.config.is_random
    pixels = torch.rand(2, 3, captioner.config.image_px, captioner.config.image_px)
    assert captioner.encode(pixels).shape == (2, GRID * GRID, SMOKE.language_model.width)
    card = (shop.out / "README.md").read_text()
    assert "linear probe" in card
    assert "held out" in card


def test_the_captioner_computes_what_was_trained(shop: Workshop) -> None:
    learner = train_encoder(
        load_cache(shop.work / "pictures", SMOKE.n_pictures), shop.work, SMOKE.encoder, seed=0
    )
    captioner = load_captioner(shop.out)
    pixels = torch.rand(2, 3, 112, 112)
    with torch.no_grad():
        wanted = learner.features(pixels)
        found = captioner.encoder((pixels - 0.5) / 0.5)
    assert (wanted - found).abs().max() < 0.02


def test_the_language_model_learns_and_resumes_exactly(shop: Workshop, tmp_path: Path) -> None:
    sizes = {"width": 32, "n_layers": 1, "n_heads": 2, "d_mlp": 64, "batch": 2}
    recipe = LanguageModelRecipe(**sizes, n_steps=24, learning_rate=0.02)
    tokenizer = load_tokenizer(shop)
    whole = train_language_model(tokenizer, tmp_path / "whole", recipe, seed=0)
    train_language_model(tokenizer, tmp_path / "parts", recipe, seed=0, stop_step=11)
    resumed = train_language_model(tokenizer, tmp_path / "parts", recipe, seed=0)
    assert _same(whole, resumed)
    losses = _losses(tmp_path / "whole" / "language_model.csv", "loss")
    assert losses[-1] < losses[0] - 0.2
    assert whole.transformer.wte.weight.std() > 0.9


def test_a_penalty_makes_units_silent(shop: Workshop, tmp_path: Path) -> None:
    sizes = {"width": 32, "n_layers": 2, "n_heads": 2, "d_mlp": 64, "batch": 2}
    tokenizer = load_tokenizer(shop)
    activity = []
    for penalty in (0.0, 50.0):
        recipe = LanguageModelRecipe(**sizes, n_steps=30, activity_penalty=penalty)
        model = train_language_model(tokenizer, tmp_path / f"{penalty}", recipe, seed=0)
        with _activity(model) as means:
            loss = held_out_loss(model, tokenizer, recipe)
        logged = _losses(tmp_path / f"{penalty}" / "language_model.csv", "loss")[-1]
        assert logged == pytest.approx(loss, abs=0.5)  # cross-entropy, without what activity costs
        activity.append(torch.stack(means).sum())
    assert activity[1] < 0.5 * activity[0]


def test_units_are_trained_weight_by_weight(shop: Workshop) -> None:
    model = build_language_model(SMOKE.language_model, load_tokenizer(shop), seed=0)
    rates = Rates(adam=0.01, muon=0.02, weight_decay=0.0)
    optimizers = Optimizers(
        model, rates, blocks="transformer.h.", decayed=("lm_head",), units=(".mlp.",)
    )
    before = {name: value.clone() for name, value in model.named_parameters()}
    ids = torch.arange(40).view(2, 20) * 7
    optimizers.step(model(input_ids=ids, labels=ids).loss, factor=1.0)
    for name, value in model.named_parameters():
        if value.ndim == 2 and name.startswith("transformer.h."):
            moved = (value - before[name]).abs()
            # AdamW's first step moves each weight that has a gradient as far as its rate says.
            by_weight = torch.isclose(moved[moved > 0], torch.tensor(0.01), rtol=0.01)
            assert (by_weight.float().mean() > 0.95) == (".mlp." in name), name


def test_the_encoder_learns_and_resumes_exactly(shop: Workshop, tmp_path: Path) -> None:
    cache = load_cache(shop.work / "pictures", SMOKE.n_pictures)
    sizes = {"width": 32, "depth": 1, "n_heads": 2, "n_codes": 16, "batch": 8}
    recipe = EncoderRecipe(**sizes, n_contrast_steps=40, n_code_steps=40)
    whole = train_encoder(cache, tmp_path / "whole", recipe, seed=0)
    for stop_step in (17, 40, 51):  # within each round, and between them
        train_encoder(cache, tmp_path / "parts", recipe, seed=0, stop_step=stop_step)
    resumed = train_encoder(cache, tmp_path / "parts", recipe, seed=0)
    assert _same(whole, resumed)
    losses = _losses(tmp_path / "whole" / "encoder.csv", "loss")
    assert losses[2] < losses[0] - 0.1
    assert losses[-1] < losses[3] - 0.1


def test_codes_group_segments_that_the_encoder_says_are_alike() -> None:
    generator = torch.Generator().manual_seed(0)
    centres = torch.nn.functional.normalize(torch.randn(5, 16, generator=generator), dim=1)
    kinds = torch.arange(200) % 5
    points = centres[kinds] + 0.05 * torch.randn(200, 16, generator=generator)
    found = cluster(torch.nn.functional.normalize(points, dim=1), 12, generator)
    for code in found.unique():
        assert len(kinds[found == code].unique()) == 1
    with pytest.raises(ValueError, match="12 clusters need as many points, got 3"):
        cluster(points[:3], 12, generator)


def test_the_adapter_learns_and_leaves_the_rest_alone(shop: Workshop, tmp_path: Path) -> None:
    cache = load_cache(shop.work / "pictures", SMOKE.n_pictures)
    learner = train_encoder(cache, shop.work, SMOKE.encoder, seed=0)
    tokenizer = load_tokenizer(shop)
    model = train_language_model(tokenizer, shop.work, SMOKE.language_model, seed=0)
    with torch.no_grad():  # a model that has read for six steps would answer anything alike
        model.lm_head.weight.mul_(20)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    source = PictureFeatures(cache, partial(encode, learner), width=SMOKE.encoder.width)
    language = FrozenLanguage(model, tokenizer)
    recipe = replace(SMOKE.adapter, n_steps=60, batch_size=16, learning_rate=0.2)
    train = partial(train_miniature_adapter, source, language, recipe=recipe, seed=0)
    whole = train(tmp_path / "whole")
    train(tmp_path / "parts", run=TrainingRun(stop_step=25))
    assert _same(whole, train(tmp_path / "parts"))
    texts = [source.captions(index)[0] for index in range(len(source))]
    tokens = caption_tokens(tokenizer, texts, prompt=PROMPT, max_tokens=64)
    untrained = start_adapter(source.width, language.d_model, seed=0)
    with torch.no_grad():
        losses = [summed_loss(language, a(source.features.float()), tokens) / tokens.n_tokens
                  for a in (untrained, whole)]  # fmt: skip
    assert losses[1] < losses[0] - 0.02
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_the_adapter_starts_at_the_scale_of_words() -> None:
    adapter = start_adapter(64, 500, seed=3)
    outputs = adapter(torch.randn(400, 64, generator=torch.Generator().manual_seed(0)))
    assert outputs.std().item() == pytest.approx(1, rel=0.05)
    assert _same(adapter, start_adapter(64, 500, seed=3))
    assert not _same(adapter, start_adapter(64, 500, seed=4))


def test_a_finished_adapter_asks_for_no_features(shop: Workshop) -> None:
    def refuse(pixels: torch.Tensor) -> torch.Tensor:
        raise AssertionError("A finished training needs no features.")

    cache = load_cache(shop.work / "pictures", SMOKE.n_pictures)
    source = PictureFeatures(cache, refuse, width=SMOKE.encoder.width)
    tokenizer = load_tokenizer(shop)
    model = train_language_model(tokenizer, shop.work, SMOKE.language_model, seed=0)
    language, folder = FrozenLanguage(model, tokenizer), shop.work / "adapter"
    train_miniature_adapter(source, language, folder, SMOKE.adapter, seed=0)


def test_a_checkpoint_of_another_recipe_is_refused(shop: Workshop) -> None:
    other = replace(SMOKE, encoder=replace(SMOKE.encoder, depth=2))
    with pytest.raises(RunError, match=r"of another training \(depth: 1 then, 2 now"):
        run_stages(replace(shop, recipe=other), ("encoder",))
    with pytest.raises(ValueError, match="stage must be one of"):
        run_stages(shop, ("everything",))


def test_the_probe_tells_good_features_from_noise() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(-1, 5, (2, 60, 9), generator=generator)
    good = torch.nn.functional.one_hot(labels + 1, 6).float()
    noise = torch.randn(2, 60, 9, 6, generator=generator)
    assert patch_probe((good[0], good[1]), (labels[0], labels[1])) > 0.99
    assert patch_probe((noise[0], noise[1]), (labels[0], labels[1])) < 0.4
