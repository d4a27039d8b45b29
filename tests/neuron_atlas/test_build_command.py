"""`build`, `ingest`, `site` and `captioner` as a user types them, with good input and with bad."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from safetensors.torch import load_file, save_file
from small_coco import SPLIT, write_small_coco

from atlas_db.connection import open_atlas
from atlas_db.queries import atlas_info
from neuron_atlas.cli import main


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("captioner") / "tiny"
    result = run("captioner", "init-random", "--family", "gptj", "--size", "tiny", folder)
    assert result.exit_code == 0, result.output
    assert "random weights" in result.output
    return folder


@pytest.fixture
def captioner(tiny: Path, tmp_path: Path) -> Path:
    """A captioner folder that a test may spoil."""
    return Path(shutil.copytree(tiny, tmp_path / "captioner"))


@pytest.fixture
def coco(tmp_path: Path) -> Path:
    """A data set that a test may spoil."""
    return write_small_coco(tmp_path / "coco", 6)


@pytest.fixture
def build(coco: Path, captioner: Path, tmp_path: Path) -> Callable[..., Result]:
    """Build the spoiled parts into tmp_path/atlas.duckdb."""

    def call(*more: str) -> Result:
        return run(
            *("build", "--captioner", captioner, "--coco", coco, "--split", SPLIT),
            *("--db", tmp_path / "atlas.duckdb", "--workers", "0", *more),
        )

    return call


def edit(path: Path, change: Callable[[Any], None]) -> None:
    content = json.loads(path.read_text(encoding="utf-8"))
    change(content)
    path.write_text(json.dumps(content), encoding="utf-8")


def annotations(coco: Path, kind: str) -> Path:
    return coco / "annotations" / f"{kind}_{SPLIT}.json"


def test_build_makes_an_atlas(build: Callable[..., Result], tmp_path: Path) -> None:
    result = build()
    assert result.exit_code == 0, result.output
    assert "6 images" in result.output
    with open_atlas(tmp_path / "atlas.duckdb").connect() as connection:
        info = atlas_info(connection)
    assert info.is_random
    assert info.n_images == 6
    assert info.command.startswith("neuron-atlas")
    assert (tmp_path / "atlas.run" / "manifest.json").exists()


def test_a_second_build_does_nothing_again(build: Callable[..., Result], tmp_path: Path) -> None:
    assert build("--quiet").output == ""
    shard = tmp_path / "atlas.run/shards/00000/shard.json"
    before = shard.stat().st_mtime_ns
    assert build("--quiet").output == ""
    assert shard.stat().st_mtime_ns == before


def test_run_folder_alone_then_ingest(build: Callable[..., Result], tmp_path: Path) -> None:
    assert build("--no-ingest", "--run", str(tmp_path / "run")).exit_code == 0
    assert not (tmp_path / "atlas.duckdb").exists()
    result = run("ingest", tmp_path / "run", "--db", tmp_path / "later.duckdb")
    assert result.exit_code == 0, result.output
    assert (tmp_path / "later.duckdb").exists()


def test_skipped_images_are_named(build: Callable[..., Result], coco: Path) -> None:
    broken = sorted((coco / SPLIT).iterdir())[2]
    broken.write_bytes(broken.read_bytes()[:200])
    result = build()
    assert result.exit_code == 0
    assert "1 images were skipped" in result.output
    assert broken.name in result.output


def no_folder(coco: Path, captioner: Path) -> None:
    shutil.rmtree(coco)


def no_json(coco: Path, captioner: Path) -> None:
    annotations(coco, "instances").write_text('{"images": [', encoding="utf-8")


def stray_annotation(coco: Path, captioner: Path) -> None:
    def stray(content: Any) -> None:
        content["annotations"][1]["image_id"] = 987654

    edit(annotations(coco, "captions"), stray)


def narrow_adapter(coco: Path, captioner: Path) -> None:
    weights = load_file(captioner / "adapter.safetensors")
    save_file(
        {"weight": weights["weight"][:, :-4].contiguous(), "bias": weights["bias"]},
        captioner / "adapter.safetensors",
    )


def wrong_grid(coco: Path, captioner: Path) -> None:
    edit(captioner / "captioner.json", lambda content: content.update(grid=[12, 12]))


def unknown_architecture(coco: Path, captioner: Path) -> None:
    """BLOOM is a causal language model of transformers that the table does not know."""
    from transformers import BloomConfig, BloomForCausalLM

    folder = captioner / "language_model"
    config = json.loads((folder / "config.json").read_text())
    model = BloomForCausalLM(
        BloomConfig(
            vocab_size=config["vocab_size"], hidden_size=config["n_embd"], n_layer=1, n_head=2
        )
    )
    for file in folder.glob("model*"):
        file.unlink()
    model.save_pretrained(folder)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (no_folder, r"coco"),
        (no_json, r"instances_val2017\.json.*not JSON.*line 1"),
        (stray_annotation, r"captions_val2017\.json.*987654"),
        (narrow_adapter, r"adapter\.safetensors.*width"),
        (wrong_grid, r"196 features.*12 x 12 wants 144.*captioner\.json"),
        (unknown_architecture, r"'bloom' are not in the architecture table.*gptj"),
    ],
)
def test_bad_input_is_a_sentence(
    build: Callable[..., Result],
    coco: Path,
    captioner: Path,
    tmp_path: Path,
    spoil: Callable[[Path, Path], None],
    message: str,
) -> None:
    spoil(coco, captioner)
    result = build()
    assert result.exit_code == 1, result.output
    text = " ".join(result.output.split())
    assert text.startswith("Error: ")
    assert "Traceback" not in text
    assert re.search(message, text), text
    assert not (tmp_path / "atlas.duckdb").exists()
    assert not list(tmp_path.rglob("*.partial"))


def test_wrong_usage_is_exit_2(tmp_path: Path) -> None:
    assert run("build", "--captioner", "x").exit_code == 2
    assert run("build", "--captioner", "x", "--coco", tmp_path, "--batch-size", "0").exit_code == 2
    assert run("nothing").exit_code == 2


def test_no_run_folder(tmp_path: Path) -> None:
    result = run("ingest", tmp_path / "none", "--db", tmp_path / "atlas.duckdb")
    assert result.exit_code == 1
    assert "is not a run folder" in result.output


def test_unknown_captioner(coco: Path) -> None:
    result = run("build", "--captioner", "gptx", "--coco", coco)
    assert result.exit_code == 1
    assert "gptj-beit" in result.output


def test_presets_are_listed() -> None:
    shown = json.loads(run("captioner", "presets", "--json").output)
    assert {"gptj-beit", "gptj-beit-ft", "gptj-clip", "gptj-nfrn50"} <= set(shown)
    assert "gptj-clip" in run("captioner", "presets").output


def test_every_command_has_an_example() -> None:
    def leaves(command: Any, path: tuple[str, ...] = ()) -> Any:
        for name, child in getattr(command, "commands", {}).items():
            yield from leaves(child, (*path, name))
        if not hasattr(command, "commands"):
            yield path

    for path in leaves(main):
        result = run(*path, "--help")
        assert result.exit_code == 0
        assert "Example:" in result.output, path
        assert "neuron-atlas " + " ".join(path) in result.output, path


def test_builds_of_an_array_end_in_a_whole_run(
    build: Callable[..., Result], tmp_path: Path
) -> None:
    first = build("--images-per-shard", "2", "--shard", "1/2")
    assert first.exit_code == 0, first.output
    assert "shards of other parts are still missing" in first.output
    second = build("--images-per-shard", "2", "--shard", "2/2")
    assert second.exit_code == 0, second.output
    assert re.search(r"is complete: now run `neuron-atlas ingest .*atlas\.run`", second.output)
    assert not (tmp_path / "atlas.duckdb").exists()
    ingested = run("ingest", tmp_path / "atlas.run", "--db", tmp_path / "atlas.duckdb")
    assert ingested.exit_code == 0, ingested.output


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--shard", "4/3", "'4/3' is not i/n with 1 <= i <= n"),
        ("--shard", "2", "'2' is not i/n"),
        ("--batch-size", "0", "'0' is neither a number >= 1 nor 'auto'"),
    ],
)
def test_numbers_that_cannot_be_are_refused(
    build: Callable[..., Result], option: str, value: str, message: str
) -> None:
    result = build(option, value)
    assert result.exit_code == 2
    assert message in result.output
