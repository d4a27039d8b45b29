"""Learning the adapter: the loss, what a step sees, resuming exactly, and every way to fail."""

from __future__ import annotations

import csv
import math
import multiprocessing
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest
import torch
from small_coco import SPLIT, write_small_coco
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, AutoTokenizer

from atlas_db.errors import CaptionerError, DatasetError, RunError
from builder.adapter import load_adapter
from builder.init_random import FAMILIES, init_random_captioner
from builder.language_model import count_hooks
from builder.training.caption_loss import FrozenLanguage, caption_tokens, summed_loss
from builder.training.features import FeaturesInMemory
from builder.training.order import caption_numbers, drop, step_indices
from builder.training.recipe import TrainingRecipe, learning_rate
from builder.training.trainer import TrainingRun, new_adapter, train_adapter
from builder.training.validation import Validation, greedy_captions
from builder.training.world import World

N_IMAGES = 10
N_PATCH = 4
WIDTH = 12
CAPTIONS = ["a dog on the beach", "two birds", "a red car in the snow", "a cup"]
RECIPE = TrainingRecipe(n_steps=6, batch_size=4, n_warmup=2, learning_rate=1e-2)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("language")
    for family in FAMILIES:
        init_random_captioner(root / family, family=family, size="tiny")
    return {family: root / family / "language_model" for family in FAMILIES}


def load_language(folder: Path, *, bos: bool = False) -> FrozenLanguage:
    model = AutoModelForCausalLM.from_pretrained(folder).requires_grad_(False).eval()
    return FrozenLanguage(model, AutoTokenizer.from_pretrained(folder), bos)


@pytest.fixture(scope="module")
def language(folders: dict[str, Path]) -> FrozenLanguage:
    return load_language(folders["gptj"])


@pytest.fixture(scope="module")
def source() -> FeaturesInMemory:
    features = torch.randn(N_IMAGES, N_PATCH, WIDTH, generator=torch.Generator().manual_seed(3))
    return FeaturesInMemory(features, [CAPTIONS[i % 2 :: 2] for i in range(N_IMAGES)])


def rows_of(out: Path) -> list[dict[str, str]]:
    with (out / "losses.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


# The loss ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
def test_the_loss_is_limbers(family: str, folders: dict[str, Path]) -> None:
    """An independent computation, a caption at a time, as `build_labels` of LiMBeR has it."""
    language = load_language(folders[family], bos=FAMILIES[family][1])
    model, tokenizer = language.model, language.tokenizer
    image = torch.randn(len(CAPTIONS), N_PATCH, language.d_model)
    tokens = caption_tokens(tokenizer, CAPTIONS, prompt="", max_tokens=50)
    found = summed_loss(language, image, tokens)
    expected = 0.0
    for vectors, caption in zip(image, CAPTIONS, strict=True):
        ids = torch.tensor(
            [*tokenizer.encode(caption, add_special_tokens=False), tokenizer.eos_token_id]
        )
        words = model.get_input_embeddings()
        before = words(torch.tensor(language.prefix_ids, dtype=torch.int64))
        embedded = torch.cat([before, vectors, words(ids)])[None]
        labels = torch.cat([torch.full((len(before) + N_PATCH,), -100), ids])[None]
        mean = model(inputs_embeds=embedded, labels=labels).loss
        expected += mean.item() * len(ids)
    assert found.item() == pytest.approx(expected, rel=1e-4)


def test_the_prompt_is_read_and_does_not_count(language: FrozenLanguage) -> None:
    tokenizer = language.tokenizer
    prompt = "A picture of"
    tokens = caption_tokens(tokenizer, CAPTIONS, prompt=prompt, max_tokens=50)
    assert tokens.prompt == tokenizer.encode(prompt, add_special_tokens=False)
    for caption, row in zip(CAPTIONS, tokens.rows, strict=True):
        assert row[-1] == tokenizer.eos_token_id
        assert tokenizer.decode(row[:-1]) == f" {caption}"
    assert tokens.n_tokens == sum(map(len, tokens.rows))
    cut = caption_tokens(tokenizer, CAPTIONS, prompt=prompt, max_tokens=2)
    assert {len(row) for row in cut.rows} == {2}


def test_the_gradient_reaches_the_adapter_alone(
    language: FrozenLanguage, source: FeaturesInMemory, tmp_path: Path
) -> None:
    before = {n: p.clone() for n, p in language.model.named_parameters()}
    start = new_adapter(WIDTH, language.d_model, seed=0)
    untrained = start.weight.detach().clone()
    train_adapter(source, language, tmp_path, RECIPE, seed=0, start=start)
    assert not torch.equal(start.weight, untrained)
    for name, parameter in language.model.named_parameters():
        assert torch.equal(parameter, before[name]), name
        assert parameter.grad is None
    assert count_hooks(language.model) == 0


def test_training_learns_what_the_features_say(language: FrozenLanguage, tmp_path: Path) -> None:
    """Two kinds of features, two captions: held-out features of a kind get its caption's loss."""
    generator = torch.Generator().manual_seed(0)
    kinds = torch.randn(2, 1, WIDTH, generator=generator)
    noise = 0.1 * torch.randn(40, N_PATCH, WIDTH, generator=generator)
    features = kinds[torch.arange(40) % 2] + noise
    captions = [[CAPTIONS[i % 2]] for i in range(40)]
    recipe = TrainingRecipe(n_steps=60, batch_size=8, n_warmup=2, learning_rate=3e-2, dropout=0)
    train = FeaturesInMemory(features[:32], captions[:32])
    adapter = train_adapter(train, language, tmp_path, recipe, seed=0)
    assert float(rows_of(tmp_path)[-1]["loss"]) < 0.8 * float(rows_of(tmp_path)[0]["loss"])

    def loss_of(wanted: list[list[str]]) -> float:
        held_out = FeaturesInMemory(features[32:], wanted)
        return Validation(
            source=held_out, language=language, recipe=recipe, out=tmp_path, prompt="A"
        )(adapter, 60)

    assert loss_of(captions[32:]) < loss_of(captions[31:39]) - 2


# What a step sees --------------------------------------------------------------------------------


def test_every_image_comes_once_an_epoch() -> None:
    seen = [i for step in range(5) for i in step_indices(10, 4, seed=1, step=step)]
    assert sorted(seen[:10]) == sorted(seen[10:20]) == list(range(10))
    assert seen[:10] != seen[10:20]
    assert step_indices(10, 4, seed=2, step=0) != step_indices(10, 4, seed=1, step=0)
    assert {step_indices(3, 7, seed=0, step=0).count(i) for i in range(3)} == {2, 3}
    assert caption_numbers(4, seed=0, step=1) != caption_numbers(4, seed=0, step=2)


def test_dropout_keeps_the_mean_and_does_not_depend_on_the_micro_batch() -> None:
    image = torch.ones(4, 100, 50)
    dropped = drop(image, 0.1, [0, 1, 2, 3], seed=0, step=5)
    assert dropped.mean().item() == pytest.approx(1, abs=0.02)
    assert (dropped == 0).float().mean().item() == pytest.approx(0.1, abs=0.01)
    assert torch.equal(drop(image[:2], 0.1, [2, 3], seed=0, step=5), dropped[2:])
    assert drop(image, 0, [0, 1, 2, 3], seed=0, step=5) is image


def test_the_learning_rate_rises_and_falls() -> None:
    recipe = TrainingRecipe(n_steps=1100, n_warmup=100, learning_rate=2.0)
    # DeepSpeed's WarmupDecayLR: log(step + 1) / log(100), then straight down.
    assert learning_rate(recipe, 0) == 0
    assert learning_rate(recipe, 9) == pytest.approx(2 * math.log(10) / math.log(100))
    assert learning_rate(recipe, 100) == 2
    assert learning_rate(recipe, 600) == pytest.approx(1)
    assert learning_rate(recipe, 1099) == pytest.approx(0.002)
    cosine = replace(recipe, decay="cosine", warmup="linear")
    assert learning_rate(cosine, 49) == pytest.approx(1)
    assert learning_rate(cosine, 600) == pytest.approx(1)
    assert learning_rate(replace(recipe, decay="constant"), 1099) == 2


@pytest.mark.parametrize("dropout", [0.0, 0.1])
def test_accumulation_changes_nothing(
    dropout: float, language: FrozenLanguage, source: FeaturesInMemory, tmp_path: Path
) -> None:
    recipe = replace(RECIPE, dropout=dropout)
    whole = train_adapter(source, language, tmp_path / "whole", recipe, seed=0)
    parts = train_adapter(
        source, language, tmp_path / "parts", recipe, seed=0, run=TrainingRun(micro_batch=3)
    )
    torch.testing.assert_close(parts.weight, whole.weight, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("n_steps", 0),
        ("dropout", 1.0),
        ("learning_rate", 0.0),
        ("decay", "steps"),
        ("n_warmup", -1),
    ],
)
def test_impossible_recipes_are_refused(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"{name} must be"):
        replace(RECIPE, **{name: value})


# Resuming ----------------------------------------------------------------------------------------


def test_killed_at_any_step_it_ends_in_the_same_weights(
    language: FrozenLanguage, source: FeaturesInMemory, tmp_path: Path
) -> None:
    """Bitwise, on one thread; killed in three places, one of them before the first checkpoint."""
    whole = train_adapter(source, language, tmp_path / "whole", RECIPE, seed=5)

    def train_until(n_steps: int) -> None:
        def die(stage: str, done: int, total: int) -> None:
            if done == n_steps:
                os.kill(os.getpid(), signal.SIGKILL)

        run = TrainingRun(save_every=2, progress=die)
        train_adapter(source, language, tmp_path / "killed", RECIPE, seed=5, run=run)

    for n_steps in (1, 3, 5):
        child = multiprocessing.get_context("fork").Process(target=train_until, args=(n_steps,))
        child.start()
        child.join(60)
        assert child.exitcode == -signal.SIGKILL
    again = train_adapter(
        source, language, tmp_path / "killed", RECIPE, seed=5, run=TrainingRun(save_every=2)
    )
    assert torch.equal(again.weight, whole.weight)
    assert torch.equal(again.bias, whole.bias)
    assert [row["step"] for row in rows_of(tmp_path / "killed")] == list("123456")
    for one, other in zip(rows_of(tmp_path / "killed"), rows_of(tmp_path / "whole"), strict=True):
        assert one["loss"] == other["loss"]
    assert (tmp_path / "killed" / "losses.svg").read_text().startswith("<svg")


def test_a_finished_training_is_read_and_not_repeated(
    language: FrozenLanguage, source: FeaturesInMemory, tmp_path: Path
) -> None:
    first = train_adapter(source, language, tmp_path, RECIPE, seed=0)
    before = (tmp_path / "losses.csv").read_text()
    again = train_adapter(source, language, tmp_path, RECIPE, seed=0)
    assert torch.equal(again.weight, first.weight)
    assert (tmp_path / "losses.csv").read_text() == before


def test_another_recipe_does_not_go_on(
    language: FrozenLanguage, source: FeaturesInMemory, tmp_path: Path
) -> None:
    train_adapter(source, language, tmp_path, RECIPE, seed=0)
    other = replace(RECIPE, learning_rate=0.5)
    with pytest.raises(RunError, match=r"another training \(learning_rate: 0.01 then, 0.5 now"):
        train_adapter(source, language, tmp_path, other, seed=0)
    (tmp_path / "checkpoint.pt").write_bytes(b"half a checkpoint")
    with pytest.raises(RunError, match="cannot be read"):
        train_adapter(source, language, tmp_path, RECIPE, seed=0)


# Failures ----------------------------------------------------------------------------------------


def test_a_loss_that_is_no_number_stops_at_once(
    language: FrozenLanguage, source: FeaturesInMemory, tmp_path: Path
) -> None:
    train_adapter(source, language, tmp_path, RECIPE, seed=0, run=TrainingRun(stop_step=3))
    good = (tmp_path / "checkpoint.pt").read_bytes()
    broken = FeaturesInMemory(source.features.clone(), source._captions)
    broken.features[step_indices(N_IMAGES, 4, seed=0, step=4)[0], 1, 2] = torch.nan
    healthy = broken.features[step_indices(N_IMAGES, 4, seed=0, step=3)].isfinite().all()
    step = 5 if healthy else 4
    with pytest.raises(RunError, match=rf"loss is nan .* at step {step} .*checkpoint of step 3 is"):
        train_adapter(broken, language, tmp_path, RECIPE, seed=0)
    assert (tmp_path / "checkpoint.pt").read_bytes() == good
    resumed = train_adapter(source, language, tmp_path, RECIPE, seed=0)
    assert resumed.weight.isfinite().all()
    assert len(rows_of(tmp_path)) == RECIPE.n_steps


def test_a_training_that_diverges_stops_at_the_step(
    language: FrozenLanguage, source: FeaturesInMemory, tmp_path: Path
) -> None:
    """A learning rate far too high: the logits overflow in the third step."""
    recipe, run = replace(RECIPE, learning_rate=1e20), TrainingRun(save_every=1)
    with pytest.raises(RunError, match=r"at step 3 \(learning rate 1e\+20\)\. The checkpoint of"):
        train_adapter(source, language, tmp_path, recipe, seed=0, run=run)
    state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert state["step"] == 2
    assert all(tensor.isfinite().all() for tensor in state["adapter"].values())
    assert len(rows_of(tmp_path)) == 2


def test_a_full_disk_keeps_the_last_checkpoint(
    language: FrozenLanguage,
    source: FeaturesInMemory,
    tmp_path: Path,
) -> None:
    """The disk fills while a checkpoint is written: what is half written lies on a full device."""
    train_adapter(source, language, tmp_path, RECIPE, seed=0, run=TrainingRun(stop_step=2))
    good = (tmp_path / "checkpoint.pt").read_bytes()

    (tmp_path / "checkpoint.pt.partial").symlink_to("/dev/full")
    with pytest.raises(RunError, match=r"disk of .* is full\. The last whole checkpoint"):
        train_adapter(source, language, tmp_path, RECIPE, seed=0)
    assert (tmp_path / "checkpoint.pt").read_bytes() == good
    assert not (tmp_path / "checkpoint.pt.partial").is_symlink()
    whole = train_adapter(source, language, tmp_path / "whole", RECIPE, seed=0)
    again = train_adapter(source, language, tmp_path, RECIPE, seed=0)
    assert torch.equal(again.weight, whole.weight)


@pytest.mark.parametrize(("name", "bos"), [("eos", False), ("bos", True)])
def test_a_tokenizer_without_a_needed_token_is_refused(
    name: str, bos: bool, folders: dict[str, Path], source: FeaturesInMemory, tmp_path: Path
) -> None:
    language = load_language(folders["gptj"], bos=bos)
    setattr(language.tokenizer, f"{name}_token", None)
    with pytest.raises(CaptionerError, match=rf"has no {name.upper()} token"):
        train_adapter(source, language, tmp_path, RECIPE, seed=0)


def test_no_pairs_are_refused(language: FrozenLanguage, tmp_path: Path) -> None:
    empty = FeaturesInMemory(torch.empty(0, N_PATCH, WIDTH), [])
    with pytest.raises(DatasetError, match="no pairs to train on"):
        train_adapter(empty, language, tmp_path, RECIPE, seed=0)
    with pytest.raises(ValueError, match=r"must be \(image, patch, width\)"):
        FeaturesInMemory(torch.empty(2, WIDTH), [["a"], ["b"]])


def test_too_small_a_memory_says_what_to_lower(
    language: FrozenLanguage,
    source: FeaturesInMemory,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fill_up(*_: Any, **__: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    run = TrainingRun(micro_batch=3)
    with monkeypatch.context() as patch:
        patch.setattr(type(language.model), "forward", fill_up)
        with pytest.raises(RunError, match="does not hold 3 pairs of a step at once"):
            train_adapter(source, language, tmp_path, RECIPE, seed=0, run=run)
    lines: list[str] = []
    told = replace(run, micro_batch=2, say=lines.append, save_every=3)
    train_adapter(source, language, tmp_path, RECIPE, seed=0, run=told)
    assert [line.split(":")[0] for line in lines] == ["step 3", "step 6"]
    assert all("pairs/s" in line for line in lines)


def test_two_trainings_do_not_share_a_folder(
    language: FrozenLanguage, source: FeaturesInMemory, tmp_path: Path
) -> None:
    def start_another(stage: str, done: int, total: int) -> None:
        if done == 1:
            train_adapter(source, language, tmp_path, RECIPE, seed=0)

    with pytest.raises(RunError, match="another build is writing"):
        train_adapter(
            source, language, tmp_path, RECIPE, seed=0, run=TrainingRun(progress=start_another)
        )


# Validation --------------------------------------------------------------------------------------


def test_captions_are_the_greedy_ones(language: FrozenLanguage) -> None:
    image = torch.randn(3, N_PATCH, language.d_model, generator=torch.Generator().manual_seed(1))
    captions = greedy_captions(language, image, prompt="A picture of", max_new_tokens=4)
    model, tokenizer = language.model, language.tokenizer
    words = model.get_input_embeddings()(torch.tensor(tokenizer.encode("A picture of")))
    embedded = torch.cat([image, words.expand(3, -1, -1)], dim=1)
    ids = model.generate(
        inputs_embeds=embedded,
        attention_mask=torch.ones(embedded.shape[:2], dtype=torch.int64),
        max_new_tokens=4,
        do_sample=False,
        pad_token_id=tokenizer.eos_token_id,
    )
    expected = [tokenizer.decode(row, skip_special_tokens=True).strip() for row in ids]
    assert captions == expected


def test_an_adapter_several_vectors_wide_makes_them_all(
    language: FrozenLanguage, tmp_path: Path
) -> None:
    """LiMBeR's pooled encoders: one feature, several prefix vectors."""
    pooled = FeaturesInMemory(torch.randn(6, 1, WIDTH), [CAPTIONS] * 6)
    start = nn.Linear(WIDTH, 2 * language.d_model)
    adapter = train_adapter(pooled, language, tmp_path, RECIPE, seed=0, start=start)
    assert adapter.out_features == 2 * language.d_model
    wrong = nn.Linear(WIDTH, language.d_model + 1)
    with pytest.raises(CaptionerError, match="which is no multiple"):
        train_adapter(pooled, language, tmp_path / "wrong", RECIPE, seed=0, start=wrong)


class Half(World):
    """One of two processes, here threads, that add tensors up on a common board."""

    size = 2

    def __init__(self, rank: int, board: dict[int, Tensor], barrier: Barrier) -> None:
        self.rank, self._board, self._barrier = rank, board, barrier

    def sum(self, tensor: Tensor) -> Tensor:
        self._board[self.rank] = tensor.clone()
        self._barrier.wait(30)
        summed = self._board[0] + self._board[1]
        self._barrier.wait(30)
        return summed


def test_processes_share_a_step(
    folders: dict[str, Path], source: FeaturesInMemory, tmp_path: Path
) -> None:
    """Two halves that add up what both found give the whole step's weights."""
    board: dict[int, Tensor] = {}
    barrier = Barrier(2)

    def train(rank: int) -> nn.Linear:
        run = TrainingRun(world=Half(rank, board, barrier))
        language = load_language(folders["llama"])
        return train_adapter(source, language, tmp_path / "shared", RECIPE, seed=0, run=run)

    whole = train_adapter(
        source, load_language(folders["llama"]), tmp_path / "whole", RECIPE, seed=0
    )
    with ThreadPoolExecutor(2) as pool:
        for adapter in pool.map(train, range(2)):
            torch.testing.assert_close(adapter.weight, whole.weight, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_accelerate_joins_processes(tmp_path: Path) -> None:
    """Two processes on the CPU, started as `accelerate launch` does, end in one captioner."""
    init_random_captioner(tmp_path / "random", family="llama", size="tiny")
    coco = write_small_coco(tmp_path / "coco", 6)
    arguments = ["train-adapter", "--like", str(tmp_path / "random"), "--coco", str(coco)]
    arguments += ["--split", SPLIT, "--validation", "2", "--device", "cpu", "--workers", "0"]
    arguments += ["--steps", "3", "--batch-size", "4", "--warmup", "1", "--dropout", "0"]
    weights = []
    for n_processes in (1, 2):
        out = tmp_path / f"trained-{n_processes}"
        launch = ["-m", "torch.distributed.run", f"--nproc-per-node={n_processes}"]
        subprocess.run(
            [sys.executable, *launch, "-m", "neuron_atlas", *arguments, "--out", str(out)],
            check=True,
            capture_output=True,
            timeout=300,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        weights.append(load_adapter(out / "proj.ckpt").weight)
    torch.testing.assert_close(weights[1], weights[0], rtol=1e-4, atol=1e-5)
