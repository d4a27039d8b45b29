"""`neuron-atlas build`: a captioner and a data set in, an atlas out."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click

from neuron_atlas.commands.build_options import ImagesOrAuto, Part
from neuron_atlas.commands.options import device_option, quiet_option
from neuron_atlas.progress import ProgressBars


@click.command()
@click.option(
    "--captioner",
    "captioner_source",
    required=True,
    metavar="DIR|PRESET",
    help="Folder with a captioner.json, or a preset such as gptj-beit.",
)
@click.option(
    "--coco",
    "coco_folder",
    required=True,
    type=click.Path(path_type=Path),
    help="COCO's folder: annotations/ and a folder of photographs for each split.",
)
@click.option("--split", default="val2017", show_default=True, help="Which split of it.")
@click.option(
    "--db",
    "database",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("atlas.duckdb"),
    show_default=True,
    help="The atlas to write.",
)
@click.option(
    "--run",
    "run_folder",
    type=click.Path(path_type=Path, file_okay=False),
    help="Run folder, from which a stopped build goes on. [default: beside the atlas]",
)
@click.option("--no-ingest", is_flag=True, help="Stop at the run folder; needs no DuckDB.")
@click.option("--limit", type=click.IntRange(min=1), help="Take the first N images only.")
@click.option(
    "--targets",
    "n_targets",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Words of each caption to attribute: the first noun, then the content words after it.",
)
@click.option(
    "--decode-norm",
    type=click.Choice(["none", "final"]),
    default="none",
    show_default=True,
    help="Apply the final norm to a unit's write vector before the unembedding.",
)
@click.option(
    "--images",
    type=click.Choice(["embed", "link"]),
    default="embed",
    show_default=True,
    help="Keep a thumbnail of each photograph in the atlas, or only its address.",
)
@device_option
@click.option(
    "--dtype",
    type=click.Choice(["float32", "float64", "bfloat16", "float16"]),
    help="Arithmetic of the models. [default: the captioner's]",
)
@click.option(
    "--batch-size",
    type=ImagesOrAuto(),
    default="auto",
    show_default=True,
    metavar="N|auto",
    help="Images in one pass; auto measures what the device holds. Halved when memory runs out.",
)
@click.option(
    "--workers",
    "n_workers",
    type=click.IntRange(min=0),
    default=1,
    show_default=True,
    help="Processes that read images; 0: none but this.",
)
@click.option(
    "--images-per-shard",
    type=ImagesOrAuto(),
    default="auto",
    show_default=True,
    metavar="N|auto",
    help="A stopped build loses at most one shard; auto: 500, for large models 2500.",
)
@click.option(
    "--shard",
    "part",
    type=Part(),
    metavar="i/n",
    help="Make every n-th shard from the i-th, beside builds that make the others. Implies "
    "--no-ingest.",
)
@click.option(
    "--ray",
    "ray_address",
    metavar="ADDRESS",
    help="Run the shards on a Ray cluster: its address, auto, or local for one on this machine.",
)
@quiet_option
def build(
    captioner_source: str,
    coco_folder: Path,
    split: str,
    database: Path,
    run_folder: Path | None,
    no_ingest: bool,
    limit: int | None,
    part: tuple[int, int] | None,
    ray_address: str | None,
    device: str | None,
    dtype: str | None,
    quiet: bool,
    **options: Any,
) -> None:
    """Run the whole pass over a data set, into an atlas.

    Give the same command again after it was stopped: it goes on from the last whole shard.

    \b
    Example:
      neuron-atlas build --captioner tiny --coco coco --split val2017 --db atlas.duckdb
    """
    from builder.build import build_run
    from builder.captioner import load_captioner
    from builder.coco import load_coco
    from builder.devices import best_device
    from builder.settings import BuildSettings, Execution

    if part and ray_address:
        raise click.UsageError("--shard and --ray exclude one another: Ray shares shards out.")
    if not (no_ingest or part or find_spec("duckdb")):
        raise click.UsageError(
            "DuckDB, which the atlas is a file of, is not installed here. Install it with "
            "`pip install 'neuron-atlas[db]'`; or stop at the run folder with --no-ingest, and "
            "run `neuron-atlas ingest` where it is installed."
        )
    execution = Execution(
        batch_size=options.pop("batch_size"),
        n_workers=options.pop("n_workers"),
        part=part or (1, 1),
        command=command_line(),
        captioner_source=captioner_source,
    )
    settings = BuildSettings(**options)
    run_folder = run_folder or database.with_suffix(".run")
    dataset = load_coco(coco_folder, split, limit=limit)
    for warning in dataset.warnings:
        click.echo(f"Warning: {warning}", err=True)
    device = device or best_device()
    with ProgressBars(is_quiet=quiet) as progress:
        if ray_address is None:
            captioner = load_captioner(captioner_source, device=device, dtype=dtype)
            build_run(
                captioner, dataset, run_folder, settings, execution=execution, progress=progress
            )
        else:
            from builder.ray_build import build_with_ray, ray_job

            job = ray_job(captioner_source, device, dtype, settings, execution)
            address = None if ray_address == "local" else ray_address
            build_with_ray(job, dataset, run_folder, address=address, progress=progress)
    _finish(run_folder, None if no_ingest else database, is_part=bool(part), is_quiet=quiet)


def _finish(run_folder: Path, database: Path | None, *, is_part: bool, is_quiet: bool) -> None:
    """Say what came of the build and, unless it was a part of one, make the atlas."""
    if is_part and not _is_complete(run_folder, is_quiet=is_quiet):
        return
    report_run(run_folder, is_quiet=is_quiet)
    if database is not None and not is_part:
        from neuron_atlas.commands.ingest import ingest_run

        ingest_run(run_folder, database, is_quiet=is_quiet)


def _is_complete(run_folder: Path, *, is_quiet: bool) -> bool:
    """Say whether the other builds of an array have made their shards too."""
    from atlas_db.run_format import read_manifest

    is_complete = bool(read_manifest(run_folder)["is_complete"])
    if not is_quiet:
        click.echo(
            f"{run_folder} is complete: now run `neuron-atlas ingest {run_folder}`."
            if is_complete
            else f"{run_folder}: this part is done; shards of other parts are still missing."
        )
    return is_complete


def command_line() -> str:
    """Give the command as it was typed, without the path of the program."""
    return " ".join(["neuron-atlas", *sys.argv[1:]])


def report_run(run_folder: Path, *, is_quiet: bool) -> None:
    """Say how many images were read and which were skipped; fail if none was read."""
    from atlas_db.run_format import read_manifest
    from builder.manifest import check_images_read

    manifest = read_manifest(run_folder)
    check_images_read(manifest)
    skipped = manifest["skipped"]
    if skipped:
        click.echo(f"Warning: {len(skipped)} images were skipped:", err=True)
        for image in skipped[:5]:
            click.echo(f"  {image['file']}: {image['reason']}", err=True)
        if len(skipped) > 5:
            click.echo(f"  and {len(skipped) - 5} more; see {run_folder}/manifest.json", err=True)
    if not is_quiet:
        click.echo(f"{run_folder}: {manifest['n_images']} images, {manifest['name']}")
