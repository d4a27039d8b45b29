"""Shards on a local Ray cluster of two workers, one of them killed in the middle."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from killed_build import run_of
from small_coco import SPLIT, write_small_coco

from atlas_db.errors import CaptionerError
from atlas_db.ingest import ingest
from builder.captioner import load_captioner
from builder.coco import load_coco
from builder.init_random import init_random_captioner
from builder.ray_build import build_with_ray, ray_job
from builder.settings import BuildSettings, Execution

ray = pytest.importorskip("ray", reason="the extra neuron-atlas[ray] is not installed")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]

N_IMAGES = 24
EXECUTION = Execution(batch_size=4, n_workers=0)
SETTINGS = BuildSettings(images_per_shard=2, n_targets=2)


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    environment = {"env_vars": {"OMP_NUM_THREADS": "1"}}
    ray.init(
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        object_store_memory=200 * 2**20,
        runtime_env=environment,
    )
    yield
    ray.shutdown()


def workers_at(task: str) -> list[int]:
    """Give the processes, children of this test's own cluster, that are at a task of that name."""
    parents, names = {}, {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            names[int(process.name)] = (process / "cmdline").read_bytes().split(b"\0")[0].decode()
            status = (process / "status").read_text()
        except OSError:
            continue
        parents[int(process.name)] = int(status.split("PPid:")[1].split()[0])

    def is_ours(pid: int) -> bool:
        while pid in parents and pid != os.getpid():
            pid = parents[pid]
        return pid == os.getpid()

    return [pid for pid, name in names.items() if name == f"ray::{task}" and is_ours(pid)]


def test_a_killed_worker_changes_nothing(cluster: None, tmp_path: Path) -> None:
    coco = write_small_coco(tmp_path / "coco", N_IMAGES)
    init_random_captioner(tmp_path / "gptj", family="gptj")
    captioner = load_captioner(tmp_path / "gptj", dtype="float64")
    whole = run_of(captioner, coco, tmp_path / "whole", per_shard=2)
    job = ray_job(str(tmp_path / "gptj"), "cpu", "float64", SETTINGS, EXECUTION)
    killed: list[int] = []

    def kill_one() -> None:
        until = time.monotonic() + 120
        while time.monotonic() < until and not killed:
            at_work = workers_at("_detect")
            if at_work and len(list(run.glob("shards/?????"))) >= 2:
                os.kill(at_work[0], signal.SIGKILL)
                killed.append(at_work[0])
            time.sleep(0.01)

    run = tmp_path / "run"
    killer = threading.Thread(target=kill_one)
    killer.start()
    build_with_ray(job, load_coco(coco, SPLIT), run)
    killer.join()
    assert killed
    assert ingest(run, tmp_path / "ray.duckdb") == ingest(whole, tmp_path / "whole.duckdb")


def test_a_workers_error_is_told_as_it_is(cluster: None, tmp_path: Path) -> None:
    coco = write_small_coco(tmp_path / "coco", 2)
    job = ray_job(str(tmp_path / "none"), "cpu", None, SETTINGS, EXECUTION)
    with pytest.raises(CaptionerError, match=r"^There is no captioner"):
        build_with_ray(job, load_coco(coco, SPLIT), tmp_path / "run")
