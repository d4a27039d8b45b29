"""Write the trained miniature as a captioner folder: half precision, captioner.json, model card."""

from __future__ import annotations

from timm.models import save_for_hf

from builder.adapter import save_adapter
from builder.captioner_config import CaptionerConfig, Part, write_config
from builder.loading import quiet
from builder.miniature.picture_cache import GRID, INPUT_PX
from builder.miniature.recipe import (
    Workshop,
    last_loss,
    load_tokenizer,
    probe_accuracy,
    trained_adapter,
    trained_encoder,
    trained_language_model,
)
from builder.miniature.train_adapter import PROMPT
from builder.miniature.train_encoder import MEAN, STD
from builder.miniature.train_language_model import held_out_loss

_LICENCE = "CC0-1.0"
_CARD = """# The miniature

A captioner trained from scratch by `neuron-atlas miniature train --seed {seed}`, to show the effect
of multimodal neurons on one machine. It knows a world of drawn pictures and nothing else.

| part | architecture | trained on | result |
|---|---|---|---|
| language model | GPT-J with ReLU, {n_layers} layers of {width}, {n_units} units, {n_tokens} \
tokens in the vocabulary | text of a grammar alone, {n_read:.1f} M tokens | {text_loss:.3f} \
nats a token on held-out text |
| encoder | BEiT (timm), {depth} blocks of {encoder_width}, {grid} x {grid} patches of a picture \
of {px} px | {n_views} views of {n_pictures} pictures: contrast of segments found by colour, then \
their clusters; no labels, no masks, no text | linear probe of object \
patches {probe:.3f} (a diagnosis, on pictures not trained on) |
| adapter | one linear layer | picture-caption pairs, the rest frozen | {caption_loss:.3f} nats a \
token of the captions |

Data: the picture world and the corpus (`builder/miniature/world.py` and `corpus.py`), both made by
this project, CC0. Only pictures of the split "train" were used; every picture of
"val" is held out.

Limits: it names what this project draws, in the words of one grammar, and at times wrongly. It is
no model of English, of photographs or of people. `builder/miniature/LOG.md` says what was tried.
"""


def export_captioner(shop: Workshop) -> int:
    """Write the captioner folder and its README.md; gives the bytes of its weights.

    captioner.json is written last, so a folder that has one is whole.
    """
    tokenizer, model = load_tokenizer(shop), trained_language_model(shop)
    learner, adapter = trained_encoder(shop), trained_adapter(shop)
    card = _card(shop, held_out_loss(model, tokenizer, shop.recipe.language_model),
                 probe_accuracy(shop, learner))  # fmt: skip
    with quiet():
        model.half().save_pretrained(shop.out / "language_model")
    tokenizer.save_pretrained(shop.out / "language_model")
    save_for_hf(
        learner.encoder.half(),
        str(shop.out / "encoder"),
        model_args=shop.recipe.encoder.architecture,
        safe_serialization=True,
    )
    save_adapter(shop.out / "adapter.safetensors", adapter.half())
    (shop.out / "README.md").write_text(card, encoding="utf-8")
    write_config(shop.out, _config(shop.seed))
    weights = [path for path in shop.out.rglob("*.safetensors") if shop.work not in path.parents]
    return sum(path.stat().st_size for path in weights)


def _config(seed: int) -> CaptionerConfig:
    def part(source: str) -> Part:
        origin = f"trained from scratch, neuron-atlas miniature train --seed {seed}"
        return Part(source=source, licence=_LICENCE, origin=origin)

    return CaptionerConfig(
        name="miniature",
        is_random=False,
        language_model=part("language_model"),
        encoder=part("timm:encoder"),
        adapter=part("adapter.safetensors"),
        prompt=PROMPT,
        bos=False,
        max_new_tokens=16,
        dtype="float32",
        image_px=INPUT_PX,
        grid=(GRID, GRID),
        pooling="none",
        geometry="squash",
        interpolation="bilinear",
        mean=(MEAN,) * 3,
        std=(STD,) * 3,
    )


def _card(shop: Workshop, text_loss: float, probe: float) -> str:
    language, encoder = shop.recipe.language_model, shop.recipe.encoder
    return _CARD.format(
        seed=shop.seed,
        n_layers=language.n_layers,
        width=language.width,
        n_units=language.n_layers * language.d_mlp,
        n_tokens=len(load_tokenizer(shop)),
        n_read=language.n_steps * language.batch * language.n_positions / 1e6,
        text_loss=text_loss,
        depth=encoder.depth,
        encoder_width=encoder.width,
        grid=GRID,
        px=INPUT_PX,
        n_views=encoder.n_views,
        n_pictures=shop.recipe.n_pictures,
        probe=probe,
        caption_loss=last_loss(shop),
    )
