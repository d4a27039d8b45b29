"""Loading by transformers: quiet while it lasts, and as loud as before afterwards."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel
from transformers.utils import logging

from atlas_db.errors import CaptionerError
from builder.loading import load_pretrained, quiet


def _state() -> tuple[int, bool]:
    return logging.get_verbosity(), logging.is_progress_bar_enabled()


def test_transformers_is_as_loud_as_before_after_success_and_failure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = _state()
    with quiet():
        config = GPT2Config(vocab_size=10, n_embd=8, n_layer=1, n_head=2, bos_token_id=0)
        GPT2LMHeadModel(config).save_pretrained(tmp_path)
        assert _state() != before
    capsys.readouterr()
    model = load_pretrained(GPT2LMHeadModel, tmp_path, what="language model", dtype=torch.bfloat16)
    assert model.dtype == torch.bfloat16
    assert _state() == before
    with pytest.raises(CaptionerError, match=r"The language model in .*nowhere cannot be loaded"):
        load_pretrained(
            GPT2LMHeadModel, tmp_path / "nowhere", what="language model", dtype=torch.float32
        )
    assert _state() == before
    assert capsys.readouterr() == ("", "")
