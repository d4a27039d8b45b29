"""`neuron-atlas report`: the paper's experiments on a finished run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from neuron_atlas.commands.build_options import ImagesOrAuto
from neuron_atlas.commands.options import device_option, quiet_option
from neuron_atlas.progress import ProgressBars

if TYPE_CHECKING:
    from builder.captioner import Captioner


@click.command()
@click.argument("run_folder", metavar="RUN", type=click.Path(path_type=Path))
@click.option(
    "--images",
    "n_images",
    type=click.IntRange(min=1),
    default=200,
    show_default=True,
    help="Images of the sample that are looked at; the paper's tables have 1000.",
)
@click.option(
    "--only",
    "names",
    multiple=True,
    metavar="NAME",
    help="Run this experiment alone; may be given several times.",
)
@click.option(
    "--db",
    "--database",
    "database",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Make this atlas anew of the run and all of its experiments.",
)
@click.option(
    "--captioner",
    "captioner_source",
    metavar="DIR|PRESET",
    help="The run's captioner. [default: where it was when the run was built]",
)
@click.option(
    "--coco",
    "coco_folder",
    type=click.Path(path_type=Path),
    help="The folder of the run's data set. [default: where it was when the run was built]",
)
@device_option
@click.option(
    "--batch-size",
    type=ImagesOrAuto(),
    default="auto",
    show_default=True,
    metavar="N|auto",
    help="Images in one pass; auto measures what the device holds.",
)
@click.option(
    "--workers",
    "n_workers",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Processes that read images; 0: none but this.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of everything at random.")
@click.option(
    "--scores",
    "score_models",
    metavar="DIR|hub",
    help="Folder of models for BERTScore and CLIPScore; hub: the Hugging Face hub's cache. "
    "[default: overlap of words alone]",
)
@click.option(
    "--text",
    "texts",
    multiple=True,
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="A text file for the units to read beside the human captions; may be given several times.",
)
@click.option(
    "--words",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Which words belong to which category. [default: the data set's, else their names]",
)
@quiet_option
def report(
    run_folder: Path,
    *,
    n_images: int,
    names: tuple[str, ...],
    database: Path | None,
    captioner_source: str | None,
    coco_folder: Path | None,
    device: str | None,
    batch_size: int | None,
    n_workers: int,
    seed: int,
    score_models: str | None,
    texts: tuple[Path, ...],
    words: Path | None,
    quiet: bool,
) -> None:
    """Run the paper's experiments on a finished run, and print their figures.

    Results are kept in the run folder: given again after it was stopped, or with other
    experiments, it runs only what is missing.

    \b
    Example:
      neuron-atlas report atlas.run --db atlas.duckdb
      neuron-atlas report atlas.run --only ablation --images 1000
    """
    from builder.experiments.score_folders import find_score_folder

    run_report(
        run_folder,
        names,
        settings={"n_images": n_images, "seed": seed},
        captioner_source=captioner_source,
        coco_folder=coco_folder,
        device=device,
        batch_size=batch_size,
        more={
            "n_workers": n_workers,
            "score_models": None if score_models is None else find_score_folder(score_models),
            "texts": texts,
            "words": words,
        },
        is_quiet=quiet,
        say=None if quiet else click.echo,
    )
    if database is not None:
        from neuron_atlas.commands.ingest import ingest_run

        ingest_run(run_folder, database, is_quiet=quiet)


def run_report(
    run_folder: Path,
    names: Sequence[str] = (),
    *,
    settings: Mapping[str, int],
    captioner_source: str | Captioner | None = None,
    coco_folder: Path | None = None,
    device: str | None = None,
    batch_size: int | None = None,
    more: Mapping[str, Any] | None = None,
    is_quiet: bool = False,
    say: Callable[[str], None] | None = None,
) -> None:
    """Run what is missing of the experiments; `settings` and `more` are fields of the context.

    Args:
        captioner_source: Folder or preset of the run's captioner, or itself, already loaded.
    """
    from builder.devices import best_device
    from builder.experiments.context import ExperimentContext, FinishedRun, ReportSettings
    from builder.experiments.opening import choose_batch_size, find_captioner, find_dataset
    from builder.experiments.run import choose_experiments, run_experiments
    from neuron_atlas.commands.figure_texts import finished_lines

    experiments = choose_experiments(names)
    run = FinishedRun(run_folder)
    dataset = find_dataset(run, coco_folder)
    captioner, model = find_captioner(run, captioner_source, device=device or best_device())
    with ProgressBars(is_quiet=is_quiet) as progress:
        context = ExperimentContext(
            captioner=captioner,
            model=model,
            dataset=dataset,
            run=run,
            settings=ReportSettings(**settings),
            batch_size=batch_size or choose_batch_size(captioner, model),
            progress=progress,
            **(more or {}),
        )
        for finished in run_experiments(context, experiments):
            if say is not None:
                progress.close()
                for line in finished_lines(finished):
                    say(line)
