"""Pairs of three layouts, features by three ways, and the command from end to end."""

from __future__ import annotations

import io
import json
import shutil
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from small_coco import SPLIT, write_small_coco
from transformers import CLIPImageProcessor, CLIPVisionConfig, CLIPVisionModel

from atlas_db.errors import CaptionerError, DatasetError, RunError
from builder.adapter import load_adapter
from builder.build import build_run
from builder.captioner import load_captioner
from builder.captioner_config import read_config, write_config
from builder.coco import load_coco
from builder.init_random import init_random_captioner
from builder.settings import BuildSettings, Execution
from builder.training.assemble import NewCaptioner, assemble
from builder.training.features import CachedFeatures, EncodedPairs
from builder.training.pair_sources import coco_pairs, folder_pairs, shard_pairs
from builder.training.pairs import PairImages, Pairs, Unread
from neuron_atlas.cli import main


def image_bytes(colour: int, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (20, 10), (colour, 0, 0)).save(buffer, kind)
    return buffer.getvalue()


def write_shard(path: Path, samples: dict[str, dict[str, bytes]]) -> Path:
    """Write samples as img2dataset does: key, then content by suffix."""
    with tarfile.open(path, "w") as archive:
        for key, members in samples.items():
            for suffix, content in members.items():
                info = tarfile.TarInfo(f"{key}.{suffix}")
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    return path


@pytest.fixture(scope="module")
def captioner_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("captioner") / "random"
    init_random_captioner(folder, family="llama", size="tiny")
    return folder


# The layouts -------------------------------------------------------------------------------------


def test_coco_captions_are_read_with_their_images(tmp_path: Path) -> None:
    coco = write_small_coco(tmp_path / "coco", 3)
    pairs = coco_pairs(coco, SPLIT)
    assert len(pairs) == 3
    assert pairs.captions(1) == ["A square on a plain ground."]
    assert pairs.name(0) == f"{SPLIT}/000000000010.jpg"
    first, last = pairs.split(1)
    assert (len(first), last.name(0)) == (2, pairs.name(2))
    with pytest.raises(DatasetError, match="3 cannot be set apart"):
        pairs.split(3)


def test_captions_without_images_are_refused(tmp_path: Path) -> None:
    coco = write_small_coco(tmp_path / "coco", 2)
    path = coco / "annotations" / f"captions_{SPLIT}.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"annotations": []}))
    with pytest.raises(DatasetError, match=r"has no image with a caption\. 2 images of captions_"):
        coco_pairs(coco, SPLIT)
    path.unlink()
    with pytest.raises(DatasetError, match=r"is missing\. Unpack COCO's annotations"):
        coco_pairs(coco, SPLIT)


@pytest.mark.parametrize("name", ["captions.jsonl", "metadata.jsonl"])
def test_a_folder_with_a_caption_file(tmp_path: Path, name: str) -> None:
    lines = [
        {"file_name": "b/2.png", "captions": ["two", " ", "zwei"]},
        {"file_name": "1.png", "text": "one"},
    ]
    (tmp_path / name).write_text("\n".join(map(json.dumps, lines)) + "\n\n")
    pairs = folder_pairs(tmp_path)
    assert [pairs.captions(i) for i in range(2)] == [["one"], ["two", "zwei"]]


def test_a_folder_with_texts_beside_images(tmp_path: Path) -> None:
    for name in ("a.png", "b.jpg", "c.png"):
        (tmp_path / name).write_bytes(image_bytes(9, "PNG" if name.endswith("png") else "JPEG"))
    (tmp_path / "a.txt").write_text("first\n\nsecond\n")
    (tmp_path / "b.txt").write_text("third")
    pairs = folder_pairs(tmp_path)
    assert [pairs.captions(i) for i in range(2)] == [["first", "second"], ["third"]]
    assert pairs.left_out == ("1 images have no .txt beside them.",)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "entry 1 is not JSON"),
        ('{"file_name": "a.png"}', "must have 'file_name'"),
        ('{"file_name": "../a.png", "caption": "x"}', "a path inside"),
        ('{"file_name": "/a.png", "caption": "x"}', "a path inside"),
        ('{"caption": "x"}', "must have 'file_name'"),
        ("[1]", "must have 'file_name'"),
        ('{"file_name": "a.png", "captions": [1]}', "must have 'file_name'"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, line: str, message: str) -> None:
    (tmp_path / "captions.jsonl").write_text(line)
    with pytest.raises(DatasetError, match=message):
        folder_pairs(tmp_path)


def test_shards_are_indexed_and_read_in_place(tmp_path: Path, captioner_folder: Path) -> None:
    """jpg or png, caption in .txt or in .json; samples without one of them are left out."""
    write_shard(
        tmp_path / "00000.tar",
        {
            "000000": {"jpg": image_bytes(200, "JPEG"), "txt": b"a dog", "json": b"{}"},
            "000001": {"json": json.dumps({"caption": "a cat"}).encode(), "png": image_bytes(7)},
            "000002": {"txt": b"no image"},
        },
    )
    write_shard(tmp_path / "00001.tar", {"000010": {"png": image_bytes(250), "txt": b"a red"}})
    for pattern in (str(tmp_path), f"{tmp_path}/{{00000..00001}}.tar"):
        pairs = shard_pairs(pattern)
        assert [pairs.captions(i) for i in range(3)] == [["a dog"], ["a cat"], ["a red"]]
    views = PairImages(pairs, read_config(captioner_folder))
    assert views[2][0, 0].tolist() == [250, 0, 0]
    assert views[1][0, 0].tolist() == [7, 0, 0]
    assert len(shard_pairs(str(tmp_path / "00001.tar"))) == 1


def test_damaged_shards(tmp_path: Path) -> None:
    whole = write_shard(
        tmp_path / "a.tar",
        {f"{i}": {"png": image_bytes(i) + bytes(2000), "txt": b"x"} for i in range(5)},
    )
    (tmp_path / "b.tar").write_bytes(whole.read_bytes()[:9000])
    cut = shard_pairs(str(tmp_path / "b.tar"))
    assert 1 <= len(cut) < 5
    assert any("b.tar is cut off" in sentence for sentence in cut.left_out)
    (tmp_path / "c.tar").write_bytes(b"<html>not found</html>" * 100)
    with pytest.raises(DatasetError, match=r"c\.tar is no plain tar file"):
        shard_pairs(str(tmp_path / "c.tar"))
    with pytest.raises(DatasetError, match=r"00007\.tar is missing"):
        shard_pairs(str(tmp_path / "{00007..00008}.tar"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match=r"holds no \*\.tar"):
        shard_pairs(str(tmp_path / "empty"))


def test_images_that_cannot_be_read_are_named(tmp_path: Path, captioner_folder: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, "PNG")
    contents = {"a": buffer.getvalue()[:2000], "b": b"text", "c": image_bytes(3)}
    for name, content in contents.items():
        (tmp_path / f"{name}.png").write_bytes(content)
        (tmp_path / f"{name}.txt").write_text(name)
    pairs = folder_pairs(tmp_path)
    (tmp_path / "c.png").rename(tmp_path / "d.png")
    views = PairImages(pairs, read_config(captioner_folder))
    found = [views[i] for i in range(3)]
    assert all(isinstance(view, Unread) for view in found)
    assert [view.reason.split(":")[0] for view in found] == [
        "the file is damaged",
        "the file is no image that Pillow can read",
        "the file is missing",
    ]


# Features ----------------------------------------------------------------------------------------


@pytest.fixture
def encoded(tmp_path: Path, captioner_folder: Path) -> EncodedPairs:
    """Five images, of which the third cannot be read."""
    coco = write_small_coco(tmp_path / "coco", 5)
    sorted((coco / SPLIT).iterdir())[2].write_bytes(b"no image")
    captioner = load_captioner(captioner_folder)
    return EncodedPairs(
        coco_pairs(coco, SPLIT),
        captioner.encoder,
        captioner.config,
        width=captioner.adapter.in_features,
    )


def test_features_are_the_encoders(encoded: EncodedPairs, captioner_folder: Path) -> None:
    plan = [[4, 2, 0], [2], [1]]
    found = list(encoded.batches(plan))
    assert [batch.positions for batch in found] == [[0, 2], [], [0]]
    assert [len(batch.unread) for batch in found] == [1, 1, 0]
    captioner = load_captioner(captioner_folder)
    ahead = EncodedPairs(
        encoded.pairs, captioner.encoder, captioner.config, width=encoded.width, n_workers=1
    )
    for one, other in zip(ahead.batches(plan), found, strict=True):
        assert one.positions == other.positions
        assert torch.equal(one.features, other.features)
    projected = captioner.adapter(found[0].features)
    assert projected.shape == (2, captioner.config.n_patch, captioner.d_model)
    assert not torch.equal(found[0].features[0], found[0].features[1])


def test_cached_features_are_the_same(
    encoded: EncodedPairs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cached = CachedFeatures(tmp_path / "cache", encoded, key="k")
    cached.fill()
    plan = [[4, 2, 0], [2], [1, 3]]
    for one, other in zip(cached.batches(plan), encoded.batches(plan), strict=True):
        assert one.positions == other.positions
        assert one.unread == other.unread
        if one.positions:
            torch.testing.assert_close(one.features.float(), other.features, rtol=1e-3, atol=1e-3)
    monkeypatch.setattr(EncodedPairs, "batches", None)  # it is not asked again
    again = CachedFeatures(tmp_path / "cache", encoded, key="k")
    again.fill()
    assert next(again.batches([[4]])).positions == [0]
    with pytest.raises(RunError, match="features of another encoder"):
        CachedFeatures(tmp_path / "cache", encoded, key="another").fill()


# The command -------------------------------------------------------------------------------------

TRAIN = ["--steps", "4", "--batch-size", "4", "--micro-batch", "2", "--warmup", "1", "--seed", "3"]
QUICK = [*TRAIN, "--validation", "2", "--device", "cpu", "--workers", "0", "--save-every", "2"]


def run_command(*arguments: Any) -> Any:
    return CliRunner().invoke(main, ["train-adapter", *map(str, arguments)])


def test_a_trained_captioner_is_built_from(tmp_path: Path, captioner_folder: Path) -> None:
    """From pairs to a run folder; proj.ckpt through LiMBeR's own formulas gives the same logits."""
    coco = write_small_coco(tmp_path / "coco", 8)
    out = tmp_path / "new"
    parts = ["--language-model", captioner_folder / "language_model"]
    parts += ["--encoder", f"timm:{captioner_folder}/encoder"]
    result = run_command(*parts, "--coco", coco, "--split", SPLIT, "--out", out, *QUICK)
    assert result.exit_code == 0, result.output
    assert "4 steps, loss" in result.output
    lines = (out / "training" / "captions.jsonl").read_text().splitlines()
    assert len(lines) == 2
    assert json.loads(lines[0])["human"].startswith("A ")

    captioner = load_captioner(out)
    assert "4 steps of 4 pairs" in captioner.config.adapter.origin
    assert (captioner.config.name, captioner.config.notice) == ("new", "")
    state = torch.load(out / "proj.ckpt", weights_only=True)
    assert set(state) == {"weight", "bias"}
    pixels = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        # LiMBeR: proj(enc(x)), then word_embedding of the prompt, and the language model.
        projected = torch.nn.functional.linear(
            captioner.encoder.model.forward_features(pixels)[:, 1:], state["weight"], state["bias"]
        )
        torch.testing.assert_close(captioner.encode(pixels), projected, rtol=1e-4, atol=1e-4)
        prompt = captioner.tokenizer("A picture of", return_tensors="pt", add_special_tokens=False)
        words = captioner.model.model.embed_tokens(prompt.input_ids).expand(2, -1, -1)
        logits = captioner.model(inputs_embeds=torch.cat([projected, words], dim=1)).logits
        inputs = captioner.sequence(captioner.encode(pixels))
        ours = captioner.model(inputs_embeds=inputs).logits
        assert not captioner.config.bos  # LiMBeR's have none
        torch.testing.assert_close(ours, logits, rtol=1e-3, atol=1e-3)
    run = build_run(
        captioner,
        load_coco(coco, SPLIT, limit=2),
        tmp_path / "run",
        BuildSettings(images_per_shard=2),
        execution=Execution(batch_size=2, n_workers=0),
    )
    assert json.loads((run / "manifest.json").read_text())["is_complete"]


def test_a_stopped_command_goes_on(tmp_path: Path, captioner_folder: Path) -> None:
    coco = write_small_coco(tmp_path / "coco", 8)
    same = ["--like", captioner_folder, "--coco", coco, "--split", SPLIT, *QUICK]
    assert run_command(*same, "--out", tmp_path / "whole").exit_code == 0
    # As after a kill between the last checkpoint and the captioner's writing.
    stopped = tmp_path / "stopped"
    assert run_command(*same, "--out", stopped).exit_code == 0
    (stopped / "captioner.json").unlink()
    (stopped / "proj.ckpt").unlink()
    assert run_command(*same, "--out", stopped).exit_code == 0
    for name in ("proj.ckpt", "adapter.safetensors"):
        whole = load_adapter(tmp_path / "whole" / name)
        assert torch.equal(load_adapter(stopped / name).weight, whole.weight)
    changed = [*same, "--out", stopped, "--learning-rate", "1"]
    result = run_command(*changed)
    assert result.exit_code == 1
    assert "another training (learning_rate" in result.output


def test_cached_and_folder_pairs_by_command(tmp_path: Path, captioner_folder: Path) -> None:
    for i in range(6):
        (tmp_path / f"{i}.png").write_bytes(image_bytes(40 * i))
        (tmp_path / f"{i}.txt").write_text("a red ground")
    cache = ["--cache-features", tmp_path / "cache"]
    for out in ("first", "second"):  # the second reads the first's features
        result = run_command(
            "--like",
            captioner_folder,
            "--folder",
            tmp_path,
            "--out",
            tmp_path / out,
            *cache,
            *QUICK,
        )
        assert result.exit_code == 0, result.output
    weights = [load_adapter(tmp_path / out / "proj.ckpt").weight for out in ("first", "second")]
    assert torch.equal(*weights)


@pytest.mark.parametrize(
    ("partial", "message"),
    [
        ("cache/00000.npy.partial", "files of features that are whole are kept"),
        ("out/training/checkpoint.pt.partial", "The last whole checkpoint is kept"),
        ("out/adapter.safetensors.partial", "The last whole checkpoint is kept"),
        ("out/proj.ckpt.partial", "The last whole checkpoint is kept"),
    ],
)
def test_a_full_disk_at_any_file(
    partial: str, message: str, tmp_path: Path, captioner_folder: Path
) -> None:
    """Whatever file does not fit is named by its folder, and the same command then goes on."""
    coco = write_small_coco(tmp_path / "coco", 8)
    same = ["--like", captioner_folder, "--coco", coco, "--split", SPLIT, *QUICK]
    same += ["--cache-features", tmp_path / "cache", "--out", tmp_path / "out"]
    (tmp_path / partial).parent.mkdir(parents=True)
    (tmp_path / partial).symlink_to("/dev/full")
    result = run_command(*same)
    assert result.exit_code == 1
    assert "is full" in result.output
    assert message in result.output
    assert not (tmp_path / partial).is_symlink()
    assert run_command(*same).exit_code == 0
    assert load_captioner(tmp_path / "out").config.notice == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Where are the pairs?"),
        (["--coco", "a", "--folder", "b"], "Where are the pairs?"),
        (["--folder", "."], "Give either --like, or both"),
        (["--folder", ".", "--encoder", "timm:x"], "Give either --like, or both"),
    ],
)
def test_wrong_usage(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for i in range(3):
        (tmp_path / f"{i}.png").write_bytes(image_bytes(i))
        (tmp_path / f"{i}.txt").write_text("x")
    result = run_command("--out", "new", "--validation", "0", *arguments)
    assert result.exit_code == 2
    assert message in result.output


def test_what_a_captioner_must_say_is_kept(tmp_path: Path, captioner_folder: Path) -> None:
    like = shutil.copytree(captioner_folder, tmp_path / "like")
    write_config(like, replace(read_config(like), notice="Interim weights."))
    coco = write_small_coco(tmp_path / "coco", 8)
    same = ["--like", like, "--coco", coco, "--split", SPLIT, "--out", tmp_path / "out"]
    assert run_command(*same, *QUICK).exit_code == 0
    assert read_config(tmp_path / "out").notice == "Interim weights."
    untrained = read_config(tmp_path / "out" / "training" / "untrained")
    assert untrained.notice == "Interim weights. The adapter of this captioner is untrained."


def test_settings_come_from_the_encoder(tmp_path: Path, captioner_folder: Path) -> None:
    parts = {"language_model": str(captioner_folder / "language_model")}
    wanted = NewCaptioner(encoder=f"timm:{captioner_folder}/encoder", **parts)
    config = assemble(wanted, tmp_path / "new", seed=0, device="cpu", dtype=None).config
    assert (config.image_px, config.grid, config.mean) == (224, (14, 14), (0.5, 0.5, 0.5))
    assert config.geometry == "squash"
    with pytest.raises(CaptionerError, match="must start with 'timm:' or 'hf:'"):
        assemble(
            NewCaptioner(encoder="clip", **parts), tmp_path / "x", seed=0, device="cpu", dtype=None
        )


def test_settings_come_from_transformers_files(tmp_path: Path, captioner_folder: Path) -> None:
    """Side, mean, deviation and interpolation as `preprocessor_config.json` has them."""
    encoder = tmp_path / "clip"
    config = CLIPVisionConfig(
        hidden_size=24,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        image_size=56,
        patch_size=14,
    )
    CLIPVisionModel(config).save_pretrained(encoder)
    CLIPImageProcessor(
        size={"shortest_edge": 56}, crop_size={"height": 56, "width": 56}, resample=2
    ).save_pretrained(encoder)
    wanted = NewCaptioner(
        language_model=str(captioner_folder / "language_model"), encoder=f"hf:{encoder}"
    )
    captioner = assemble(wanted, tmp_path / "new", seed=0, device="cpu", dtype=None)
    found = captioner.config
    assert (found.image_px, found.grid, found.interpolation) == (56, (4, 4), "bilinear")
    assert found.mean == pytest.approx((0.481, 0.458, 0.408), abs=1e-3)
    assert found.std == pytest.approx((0.269, 0.261, 0.276), abs=1e-3)
    assert captioner.adapter.in_features == 24


def test_a_vision_language_model_needs_no_adapter(tmp_path: Path) -> None:
    with pytest.raises(CaptionerError, match=r"'llava-1\.5-7b' is a vision-language model: it has"):
        assemble(NewCaptioner(like="llava-1.5-7b"), tmp_path, seed=0, device="cpu", dtype=None)


def test_pairs_hash_names_and_captions(tmp_path: Path) -> None:
    one = coco_pairs(write_small_coco(tmp_path / "a" / "coco", 3), SPLIT)
    same = coco_pairs(write_small_coco(tmp_path / "b" / "coco", 3), SPLIT)
    assert one.sha256() == same.sha256()
    assert one.first(2).sha256() != one.sha256()
    assert isinstance(one.split(1)[0], Pairs)
    assert np.array_equal(one.table["offset"], [-1, -1, -1])
