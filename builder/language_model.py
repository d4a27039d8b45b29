"""Reaching inside a language model: its MLP units, write vectors and unembedding.

::

    lm = LanguageModel(model)              # any AutoModelForCausalLM of the architecture table
    with lm.taps(activation=keep):         # keep(layer, a) sees a of every MLP
        model(input_ids)                   # hooks are gone afterwards, also after an exception
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import Tensor, nn
from torch.nn.functional import gelu
from transformers.activations import ACT2FN

from atlas_db.errors import CaptionerError
from builder.architectures import Architecture, architecture_of_config

#: Sees (layer, tensor) and may return a replacement.
Tap = Callable[[int, Tensor], Tensor | None]


class LanguageModel:
    """A causal language model with its MLP units laid open.

    Attributes:
        model: The transformers model.
        architecture: Its entry of the table.
        n_layers, d_mlp, d_model, d_vocab: Its dimensions.
    """

    def __init__(self, model: Any) -> None:
        """Check that the table's names fit the model.

        Raises:
            CaptionerError: Unknown family, a variant that the entry does not describe, or a
                dotted name that leads nowhere.
        """
        self.model = model
        self.architecture: Architecture = architecture_of_config(model.config)
        _refuse_unknown_variants(model.config)
        self.n_layers = len(self._find(self.architecture.blocks))
        self._mlp_in = [self._find_in_block(i, self.architecture.mlp_in) for i in self.layers]
        self._mlp_out = [self._find_in_block(i, self.architecture.mlp_out) for i in self.layers]
        self.d_mlp, self.d_model = self.write_vectors(0).shape
        self.d_vocab = self.unembedding.shape[0]

    @property
    def layers(self) -> range:
        """Every layer, from 0."""
        return range(self.n_layers)

    @property
    def n_units(self) -> int:
        """Units of all layers together."""
        return self.n_layers * self.d_mlp

    @property
    def unembedding(self) -> Tensor:
        """W_U, shape (d_vocab, d_model)."""
        return self.model.get_output_embeddings().weight.detach()

    @property
    def final_norm(self) -> nn.Module:
        """The norm before the unembedding."""
        return self._find(self.architecture.final_norm)

    @property
    def activation_function(self) -> str:
        """The non-linearity's name in the configuration, such as `gelu_new`."""
        config = self.model.config.get_text_config(decoder=True)
        return str(getattr(config, self.architecture.config_activation))

    def activate(self, z: Tensor) -> Tensor:
        """Apply the non-linearity: a of a plain MLP's z (a gated one multiplies it as well)."""
        if self.activation_function == "gelu_new":
            return gelu(z, approximate="tanh")
        return ACT2FN[self.activation_function](z)

    def write_vectors(self, layer: int) -> Tensor:
        """Give W_out of a layer, shape (d_mlp, d_model): row k is what unit k writes.

        Where a norm follows the MLP, its gain is multiplied in: row k is the direction in which
        unit k moves the residual stream, up to a length that all units of a position share.
        """
        weight = self._mlp_out[layer].weight.detach()
        rows = weight if self.architecture.out_is_conv1d else weight.T
        gain = self.out_gain(layer)
        return rows if gain is None else rows * gain

    def out_gain(self, layer: int) -> Tensor | None:
        """Give the gain of the norm that follows an MLP, shape (d_model,), or None."""
        if not self.architecture.out_norm:
            return None
        norm = self._find_in_block(layer, self.architecture.out_norm)
        gain: Tensor = norm.weight.detach() + self.architecture.gain_offset
        return gain

    def write_bias(self, layer: int) -> Tensor | None:
        """Give the bias that the MLP adds, shape (d_model,), or None."""
        bias = self._mlp_out[layer].bias
        return None if bias is None else bias.detach()

    def embed(self, token_ids: Tensor) -> Tensor:
        """Embed tokens: (batch, pos) integers to (batch, pos, d_model)."""
        return self.model.get_input_embeddings()(token_ids)

    @contextmanager
    def taps(
        self, *, preactivation: Tap | None = None, activation: Tap | None = None
    ) -> Iterator[None]:
        """Let functions see, or replace, z and a of every MLP while the context is open.

        Both see tensors as the MLP has them: (batch, pos, d_mlp), or (batch * pos, d_mlp) where
        the family flattens them (OPT); a replacement has the same shape.
        """
        with ExitStack() as stack:
            for layer in self.layers:
                if preactivation is not None:
                    handle = self._on_z(layer, preactivation)
                    stack.callback(handle.remove)
                if activation is not None:
                    pre_hook = _input_hook(layer, activation)
                    handle = self._mlp_out[layer].register_forward_pre_hook(pre_hook)
                    stack.callback(handle.remove)
            yield

    def _on_z(self, layer: int, tap: Tap) -> Any:
        module = self._mlp_in[layer]
        if self.architecture.z_is_input:
            return module.register_forward_pre_hook(_input_hook(layer, tap))
        return module.register_forward_hook(_output_hook(layer, tap))

    def _find(self, name: str) -> Any:
        return _submodule(self.model, name, self.architecture.family)

    def _find_in_block(self, layer: int, name: str) -> Any:
        block = self._find(self.architecture.blocks)[layer]
        return _submodule(block, name, self.architecture.family)


def _submodule(module: nn.Module, name: str, family: str) -> Any:
    try:
        return module.get_submodule(name)
    except AttributeError as error:
        raise CaptionerError(
            f"the architecture table says that family {family} has {name!r}, but this model's "
            f"{type(module).__name__} does not: {error}. Its layout differs from the family's."
        ) from None


def _refuse_unknown_variants(config: Any) -> None:
    """OPT-350m norms after the MLP and projects its embeddings: W_U W_out has no meaning there."""
    if config.model_type == "opt" and (
        not config.do_layer_norm_before or config.word_embed_proj_dim != config.hidden_size
    ):
        raise CaptionerError(
            "this OPT model norms after its MLPs or projects its embeddings (as opt-350m does): "
            "its units do not write into the space of the unembedding. Use another OPT size."
        )


def _output_hook(layer: int, tap: Tap) -> Callable[[nn.Module, Any, Tensor], Tensor | None]:
    return lambda module, inputs, output: tap(layer, output)


def _input_hook(layer: int, tap: Tap) -> Callable[[nn.Module, tuple[Tensor, ...]], Any]:
    def hook(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor] | None:
        replacement = tap(layer, inputs[0])
        return None if replacement is None else (replacement,)

    return hook


def count_hooks(model: nn.Module) -> int:
    """Count the forward hooks on all of a model's modules (0: nothing was left behind)."""
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())
