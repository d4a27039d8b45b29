"""Tiny language models of every family in turn, and what detection needs beside them."""

import pytest
import torch
from tiny_models import D_MODEL, FAMILIES, WordTokenizer, tiny_model

from builder.language_model import LanguageModel


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(params=FAMILIES)
def model(request: pytest.FixtureRequest) -> LanguageModel:
    """A tiny float64 model of each family in turn."""
    return tiny_model(request.param)


@pytest.fixture
def tokenizer() -> WordTokenizer:
    return WordTokenizer()


@pytest.fixture
def patches() -> torch.Tensor:
    """Patch embeddings of four images of six patches."""
    generator = torch.Generator().manual_seed(5)
    return torch.randn(4, 6, D_MODEL, generator=generator, dtype=torch.float64)
