"""`neuron-atlas demo`: everything at once, on pictures that the project draws itself."""

from __future__ import annotations

from pathlib import Path

import click

from neuron_atlas.commands.options import quiet_option
from neuron_atlas.progress import ProgressBars

SPLIT = "val"
#: Pictures that the demo's experiments look at.
N_REPORTED = 60


@click.command()
@click.option(
    "--folder",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("demo"),
    show_default=True,
    help="Where pictures, atlas and pages go.",
)
@click.option("--images", "n_images", type=click.IntRange(min=1), default=500, show_default=True)
@click.option(
    "--captioner",
    "captioner_source",
    default="miniature",
    show_default=True,
    metavar="DIR|PRESET",
    help="Whose units; `random` is an untrained one, to compare with.",
)
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True)
@click.option("--no-serve", is_flag=True, help="Stop when the pages are made.")
@quiet_option
@click.pass_context
def demo(
    ctx: click.Context,
    *,
    folder: Path,
    n_images: int,
    captioner_source: str,
    port: int,
    no_serve: bool,
    quiet: bool,
) -> None:
    """Draw pictures, build their atlas and its site, and serve it.

    Needs no download. The embedded miniature has read made-up text and seen drawn pictures; its
    top units say what its pictures show; the site's page Report says how often. A second call
    goes on with what is there.

    \b
    Example:
      neuron-atlas demo --images 60 --port 8080
    """
    from builder.build import BuildSettings, Execution, build_run
    from builder.captioner import load_captioner
    from builder.coco import load_coco
    from neuron_atlas.commands.build import command_line, report_run
    from neuron_atlas.commands.ingest import ingest_run
    from neuron_atlas.commands.report import run_report
    from neuron_atlas.commands.serve import serve
    from neuron_atlas.commands.site import make_site

    work = folder / f"{Path(captioner_source).name}-{n_images}"
    pictures, run_folder = work / "pictures", work / "run"
    database, pages = work / "atlas.duckdb", work / "public"
    draw(pictures, n_images, is_quiet=quiet)
    if captioner_source == "random":
        captioner_source = str(random_captioner(work / "captioner"))
    captioner = load_captioner(captioner_source)
    with ProgressBars(is_quiet=quiet) as progress:
        build_run(
            captioner,
            load_coco(pictures, SPLIT),
            run_folder,
            BuildSettings(),
            execution=Execution(command=command_line(), captioner_source=captioner_source),
            progress=progress,
        )
    report_run(run_folder, is_quiet=quiet)
    run_report(
        run_folder,
        settings={"n_images": N_REPORTED},
        captioner_source=captioner,
        coco_folder=pictures,
        is_quiet=quiet,
    )
    ingest_run(run_folder, database, is_quiet=quiet)
    make_site(database, pages, is_quiet=quiet)
    if not no_serve:
        ctx.invoke(serve, database=database, site=pages, port=port, quiet=quiet)


def draw(pictures: Path, n_images: int, *, is_quiet: bool) -> None:
    """Draw the demo's pictures unless they are there."""
    from builder.miniature.coco_writer import write_coco

    if not (pictures / "annotations").is_dir():
        write_coco(pictures, split=SPLIT, n_images=n_images, seed=0, quiet=is_quiet)


def random_captioner(folder: Path) -> Path:
    """Write a captioner of random weights unless it is there."""
    from builder.init_random import init_random_captioner

    if not (folder / "captioner.json").exists():
        init_random_captioner(folder, family="gptj", size="tiny")
    return folder
