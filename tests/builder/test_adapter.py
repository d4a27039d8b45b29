"""The adapter: the same layer from both formats, and nothing else taken for one."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from atlas_db.errors import CaptionerError
from builder.adapter import load_adapter, save_adapter

D_IN, D_OUT = 5, 7


def _layer() -> torch.nn.Linear:
    torch.manual_seed(0)
    return torch.nn.Linear(D_IN, D_OUT)


@pytest.mark.parametrize("name", ["adapter.safetensors", "proj.ckpt"])
def test_both_formats_give_the_same_layer(name: str, tmp_path: Path) -> None:
    layer = _layer()
    save_adapter(tmp_path / name, layer)
    loaded = load_adapter(tmp_path / name)
    features = torch.randn(3, 4, D_IN)
    torch.testing.assert_close(loaded(features), layer(features), atol=0, rtol=0)
    assert not any(parameter.requires_grad for parameter in loaded.parameters())
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_limbers_own_file_is_a_plain_state_dict(tmp_path: Path) -> None:
    layer = _layer()
    torch.save(layer.state_dict(), tmp_path / "theirs.ckpt")
    torch.testing.assert_close(load_adapter(tmp_path / "theirs.ckpt").weight, layer.weight.detach())
    save_adapter(tmp_path / "ours.ckpt", layer)
    theirs = torch.nn.Linear(D_IN, D_OUT)
    theirs.load_state_dict(torch.load(tmp_path / "ours.ckpt", weights_only=True))
    assert torch.equal(theirs.weight, layer.weight)


def test_the_dtype_that_is_asked_for_is_the_dtype_that_comes(tmp_path: Path) -> None:
    save_adapter(tmp_path / "a.safetensors", _layer())
    loaded = load_adapter(tmp_path / "a.safetensors", dtype=torch.bfloat16)
    assert {parameter.dtype for parameter in loaded.parameters()} == {torch.bfloat16}


class _Code:
    """An object whose unpickling would write a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return (Path.write_text, (self.path, "ran"))


def test_a_pickle_with_code_is_refused_and_not_run(tmp_path: Path) -> None:
    torch.save({"weight": _Code(tmp_path / "ran.txt")}, tmp_path / "proj.ckpt")
    (tmp_path / "bare.ckpt").write_bytes(pickle.dumps(_Code(tmp_path / "ran.txt"), protocol=2))
    for name in ("proj.ckpt", "bare.ckpt"):
        with pytest.raises(CaptionerError, match="cannot be read"):
            load_adapter(tmp_path / name)
    assert not (tmp_path / "ran.txt").exists()


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"weight": torch.zeros(7, 5)}, r"holds \['weight'\]. Wanted a state dict with 'weight'"),
        (
            {"weight": torch.zeros(7, 5), "bias": torch.zeros(7), "scale": torch.zeros(1)},
            r"holds \['bias', 'scale', 'weight'\]",
        ),
        ({"weight": torch.zeros(7, 5), "bias": torch.zeros(5)}, r"weight \(7, 5\) and bias \(5,\)"),
        ({"weight": torch.zeros(7), "bias": torch.zeros(7)}, r"weight \(7,\) and bias \(7,\)"),
        (
            {"weight": torch.zeros(7, 5, dtype=torch.int8), "bias": torch.zeros(7)},
            "weight .torch.int8. must be finite",
        ),
        (
            {"weight": torch.zeros(7, 5), "bias": torch.full((7,), torch.nan)},
            "bias .torch.float32. must be finite",
        ),
    ],
)
def test_other_state_dicts_are_refused(
    state: dict[str, torch.Tensor], message: str, tmp_path: Path
) -> None:
    save_file(state, tmp_path / "a.safetensors")
    torch.save(state, tmp_path / "a.ckpt")
    for name in ("a.safetensors", "a.ckpt"):
        with pytest.raises(CaptionerError, match=message) as caught:
            load_adapter(tmp_path / name)
        assert str(tmp_path / name) in str(caught.value)


def test_damaged_and_missing_files_are_named(tmp_path: Path) -> None:
    save_adapter(tmp_path / "a.safetensors", _layer())
    save_adapter(tmp_path / "a.ckpt", _layer())
    for name in ("a.safetensors", "a.ckpt"):
        content = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(content[: len(content) // 2])
        with pytest.raises(CaptionerError, match="cannot be read"):
            load_adapter(tmp_path / name)
    with pytest.raises(CaptionerError, match=r"is missing. Put LiMBeR's proj.ckpt"):
        load_adapter(tmp_path / "none.ckpt")
    torch.save([1, 2], tmp_path / "list.ckpt")
    with pytest.raises(CaptionerError, match="holds list"):
        load_adapter(tmp_path / "list.ckpt")
