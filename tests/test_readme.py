"""The README's commands are run as they stand there, on a small data set named `coco`."""

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from small_coco import write_small_coco

from neuron_atlas.cli import main

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
#: Run by hand, by tests of their own or by CI itself.
ELSEWHERE = ("make ", "curl ", "neuron-atlas serve")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def commands() -> Iterator[str]:
    for block in blocks("sh"):
        yield from (line for line in block.splitlines() if not line.startswith(ELSEWHERE))


def test_commands_and_programs_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the README's own order, in an empty folder beside a data set."""
    write_small_coco(tmp_path / "coco", 4, first_id=139)
    monkeypatch.chdir(tmp_path)
    lines = list(commands())
    assert len(lines) == 9
    for line in lines:
        program, *arguments = shlex.split(line)
        assert program == "neuron-atlas"
        result = CliRunner().invoke(main, arguments)
        assert result.exit_code == 0, f"{line}: {result.output}"
        assert result.output.strip(), line
    assert (tmp_path / "public/index.html").exists()
    programs = blocks("python")
    assert len(programs) == 2
    for program in programs:
        # Each in a process of its own, as its reader would: DuckDB holds a file's options.
        subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=True)


def test_files_that_it_names_exist() -> None:
    for path in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (Path(__file__).parents[1] / path).exists(), path
