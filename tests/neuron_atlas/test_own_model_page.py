"""The commands of the pages about other models are ones that the command line takes."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from builder.architectures import ARCHITECTURES, LANGUAGE_PARTS
from builder.training.recipe import TrainingRecipe
from builder.vision_language.families import FAMILIES
from builder.vision_language.presets import VISION_LANGUAGE_PRESETS
from neuron_atlas.cli import main
from neuron_atlas.commands.train_adapter import train_adapter

CONTENT = Path(__file__).parents[2] / "site" / "content"
PAGE = (CONTENT / "own-model.md").read_text(encoding="utf-8")
FAMILIES_PAGE = (CONTENT / "families.md").read_text(encoding="utf-8")


def commands() -> Iterator[str]:
    for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            if line.startswith("neuron-atlas "):
                yield line


def parsed(arguments: list[str], command: click.Command = main) -> click.Context:
    """Parse a command and its subcommands as the command line does, and run nothing."""
    context = command.make_context(command.name, arguments, resilient_parsing=False)
    while isinstance(command, click.Group):
        name, found, rest = command.resolve_command(context, context._protected_args + context.args)
        assert name is not None
        assert found is not None
        command, context = found, found.make_context(name, rest, parent=context)
    return context


@pytest.mark.parametrize("line", list(commands()))
def test_the_command_line_takes_it(
    line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("public").mkdir()  # as the command before has made it
    context = parsed(shlex.split(line)[1:])
    source = context.params.get("captioner_source")
    if source and source.count("-") > 0 and source != "pythia-beit":
        assert source in VISION_LANGUAGE_PRESETS


def test_there_are_commands() -> None:
    assert len(list(commands())) >= 8


def test_the_commands_defaults_are_the_recipes() -> None:
    recipe = TrainingRecipe()
    for option in train_adapter.params:
        name = {"train_prompt": "prompt"}.get(str(option.name), option.name)
        if name != "prompt" or option.name == "train_prompt":
            expected = getattr(recipe, str(name), option.default)
            assert option.default == expected, name


def test_the_families_page_names_every_entry() -> None:
    for model_type in ARCHITECTURES:
        if model_type != "qwen2_5_vl_text":  # the language model of Qwen2.5-VL
            assert f"`{model_type}`" in FAMILIES_PAGE
    for name in VISION_LANGUAGE_PRESETS:
        assert f"`{name}`" in FAMILIES_PAGE
        assert f"`{name}`" in PAGE
    assert set(LANGUAGE_PARTS) == set(FAMILIES)
