"""How a device adds, and what counts as its memory used up."""

import os
from pathlib import Path

import pytest
import torch
from tiny_models import WordTokenizer, tiny_model
from torch import Tensor

import builder.attribution
from builder.captioner import load_captioner
from builder.decoding import rows_in_chunk
from builder.detection import Detector
from builder.devices import float32_sums, is_out_of_memory, same_order_of_sums
from builder.init_random import init_random_captioner
from builder.ray_build import ray_job
from builder.settings import BuildSettings, Execution

GB = 10**9
DEVICES = ("cuda", "cuda:1", "cpu")


def settings() -> dict[str, object]:
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    return {
        "bfloat16": matmul.allow_bf16_reduced_precision_reduction,
        "float16": matmul.allow_fp16_reduced_precision_reduction,
        "convolutions": cudnn.allow_tf32,
        "cudnn attention": torch.backends.cuda.cudnn_sdp_enabled(),
        "flash attention": torch.backends.cuda.flash_sdp_enabled(),
        "fixed order": torch.are_deterministic_algorithms_enabled(),
        "filled": torch.utils.deterministic.fill_uninitialized_memory,
    }


FULL = {"bfloat16": False, "float16": False, "convolutions": False, "cudnn attention": False}


def test_settings_are_as_before_after_an_exception() -> None:
    before = settings()

    def fail() -> None:
        with float32_sums(), same_order_of_sums():
            assert settings() == {**before, **FULL, "fixed order": True, "filled": False}
            raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError, match="in the middle"):
        fail()
    assert settings() == before


def test_a_mode_that_only_warns_is_one_again() -> None:
    torch.set_deterministic_debug_mode("warn")
    try:
        with same_order_of_sums():
            assert not torch.is_deterministic_algorithms_warn_only_enabled()
        assert torch.is_deterministic_algorithms_warn_only_enabled()
    finally:
        torch.set_deterministic_debug_mode("default")


def test_cublas_is_told_its_workspace_before_the_first_product() -> None:
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] in (":4096:8", ":16:8")


def test_the_pass_adds_in_float32_and_its_gradients_in_one_order(
    tokenizer: WordTokenizer, patches: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What comes after the backward pass is free to add as it likes."""
    before = settings()
    seen = {}
    real = builder.attribution.Recorder._reduce_layer

    def reduce(self: builder.attribution.Recorder, layer: int, gradient: Tensor) -> object:
        seen["backward"] = settings()
        return real(self, layer, gradient)

    monkeypatch.setattr(builder.attribution.Recorder, "_reduce_layer", reduce)

    def sink(layer: int, activations: Tensor) -> None:
        seen["forward"] = settings()

    model = tiny_model("gptj")
    Detector(model, tokenizer, prompt_ids=[7], max_new_tokens=3)(patches, sink)
    assert seen["forward"] == {**before, **FULL}
    assert seen["backward"] == {**before, **FULL, "fixed order": True, "filled": False}
    assert settings() == before


def test_encoders_convolve_in_float32(tmp_path: Path) -> None:
    init_random_captioner(tmp_path, family="gptj")
    captioner = load_captioner(tmp_path)
    seen = []
    captioner.encoder.register_forward_hook(lambda *_: seen.append(settings()))
    side = captioner.config.image_px
    captioner.encode(torch.zeros(1, 3, side, side))
    assert seen == [{**settings(), **FULL}]


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), True),
        (RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate`"), True),
        (
            RuntimeError(
                "[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"
            ),
            True,
        ),
        (RuntimeError("CUDA error: device-side assert triggered"), False),
        (RuntimeError("index 9 is out of bounds"), False),
    ],
)
def test_memory_that_is_used_up_has_many_names(error: RuntimeError, expected: bool) -> None:
    assert is_out_of_memory(error) is expected


@pytest.mark.parametrize(("free", "rows"), [(66 * GB, 5326), (3 * GB, 930), (10**6, 64)])
def test_a_gpus_chunks_leave_room(monkeypatch: pytest.MonkeyPatch, free: int, rows: int) -> None:
    """Logits of 50,400 tokens: 1 GiB at most, and a sixteenth of what is free."""
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free, 80 * GB))
    assert rows_in_chunk(50_400, torch.device("cuda")) == rows


def test_ray_says_which_gpu_a_task_takes() -> None:
    jobs = [ray_job("gptj-beit", d, None, BuildSettings(), Execution(n_workers=3)) for d in DEVICES]
    assert [(job.device, job.n_gpus, job.n_cpus) for job in jobs] == [
        ("cuda", 1, 4),
        ("cuda", 1, 4),
        ("cpu", 0, 4),
    ]
