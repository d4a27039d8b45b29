"""A random captioner in which one unit says one word where it sees one thing, and pictures of it.

The thing is a red disc on grey ground. In a random GPT-J, one unit of the first layer is planted:
its input tells the patches of the disc from those of the ground, and it writes the unembedding of
one word's token. One head of the second layer carries that one direction from all places to the
last, for a random model's heads carry nothing. All else stays random.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw

from builder.captioner import Captioner, load_captioner
from builder.everyday_tokenizer import everyday_words
from builder.images import normalise
from builder.init_random import init_random_captioner
from builder.targets import part_of_speech
from builder.vocabulary import vocabulary_table

SPLIT = "val2017"
SIDE_PX = 224
RADIUS_PX = 26
UNIT = 77
#: z at the disc's patches and its negative at the ground's, on average.
Z = 3.0
#: Length of what the unit writes at such a patch; patch vectors are about 12 long.
WRITE_LENGTH = 24.0
HEAD_GAIN = 60.0
#: What the head may carry of any picture without the unit; the disc adds some .25.
CARRIED_MAX = 0.05


@dataclass(frozen=True)
class Planted:
    """The captioner's folder, the data set's, the planted unit and its word."""

    captioner: Path
    coco: Path
    uid: int
    word: str
    token_id: int


def plant(folder: Path, n_images: int, *, is_alone: bool = False) -> Planted:
    """Draw pictures, make a random captioner, plant the unit, and write both.

    With `is_alone` no other unit writes anything.
    """
    source = folder / "captioner"
    init_random_captioner(source, family="gptj", size="tiny")
    captioner = load_captioner(source)
    if is_alone:
        _silence(captioner.model)
    drawn = [_draw(np.random.default_rng(i)) for i in range(n_images)]
    pixels = normalise(np.stack([np.asarray(image) for image, _ in drawn]), captioner.config)
    patches = captioner.encode(pixels)
    is_disc = torch.tensor(np.stack([_patches_of_disc(centre) for _, centre in drawn]))
    token_id, word = _choose_word(captioner, patches)
    _plant_unit(captioner.model.transformer.h[0], patches, is_disc)
    _plant_route(captioner.model, token_id)
    captioner.model.save_pretrained(source / "language_model")
    coco = _write_coco(folder / "coco", drawn, word)
    return Planted(source, coco, UNIT, word, token_id)


def _draw(random: np.random.Generator) -> tuple[Image.Image, tuple[int, int]]:
    ground = int(random.integers(115, 160))
    image = Image.new("RGB", (SIDE_PX, SIDE_PX), (ground, ground, ground))
    x, y = (int(n) for n in random.integers(RADIUS_PX, SIDE_PX - RADIUS_PX, 2))
    box = (x - RADIUS_PX, y - RADIUS_PX, x + RADIUS_PX, y + RADIUS_PX)
    ImageDraw.Draw(image).ellipse(box, fill=(230, 20, 20))
    return image, (x, y)


def _patches_of_disc(centre: tuple[int, int]) -> np.ndarray:
    """Say which of the 14 x 14 patches have their middle in the disc."""
    middles = (np.arange(14) + 0.5) * SIDE_PX / 14
    x, y = centre
    far = (middles[None, :] - x) ** 2 + (middles[:, None] - y) ** 2
    return (far < RADIUS_PX**2).ravel()


@torch.no_grad()
def _silence(model: Any) -> None:
    for block in model.transformer.h:
        block.mlp.fc_out.weight.zero_()


@torch.no_grad()
def _choose_word(captioner: Captioner, patches: torch.Tensor) -> tuple[int, str]:
    """Choose a noun of one token whose direction the pictures have least of."""
    model = captioner.model
    texts = vocabulary_table(captioner.tokenizer)["token"].to_pylist()
    words = everyday_words()
    nouns = [
        i
        for i, text in enumerate(texts)
        if text[:1] == " " and text[1:] in words and part_of_speech(text[1:]) == "noun"
    ]
    directions = torch.nn.functional.normalize(model.lm_head.weight[nouns], dim=1)
    seen: dict[str, torch.Tensor] = {}
    first, second = model.transformer.h[:2]
    with (
        first.mlp.register_forward_hook(lambda module, x, y: seen.update(written=y)),
        second.register_forward_hook(lambda module, x, y: seen.update(stream=x[0])),
    ):
        model(inputs_embeds=captioner.sequence(patches))
    # What the head would carry of each picture without the first layer's units, on average over
    # places: next to nothing, so that the word is not said without.
    stream = seen["stream"] - seen["written"]
    read = directions - directions.mean(dim=1, keepdim=True)
    carried = (stream / seen["stream"].std(dim=-1, keepdim=True)).mean(dim=1) @ read.T
    least, most = carried.aminmax(dim=0)
    token_id = nouns[int(torch.where(most < CARRIED_MAX, least, -torch.inf).argmax())]
    return token_id, texts[token_id][1:]


@torch.no_grad()
def _plant_unit(block: Any, patches: torch.Tensor, is_disc: torch.Tensor) -> None:
    """Let the unit's input tell disc from ground, by Fisher's discriminant."""
    values = block.ln_1(patches).double()
    disc, ground = values[is_disc], values[~is_disc]
    spread = torch.cov(ground.T) + torch.cov(disc.T) + 1e-3 * torch.eye(values.shape[-1])
    difference = disc.mean(dim=0) - ground.mean(dim=0)
    weight = torch.linalg.solve(spread, difference)
    weight *= 2 * Z / (weight @ difference)
    block.mlp.fc_in.weight[UNIT] = weight.float()
    block.mlp.fc_in.bias[UNIT] = -(weight @ (disc.mean(dim=0) + ground.mean(dim=0)) / 2).float()


@torch.no_grad()
def _plant_route(model: Any, token_id: int) -> None:
    """Let the unit write the word, and one layer's heads carry the word's direction everywhere."""
    row = model.lm_head.weight[token_id]
    direction = row / row.norm()
    first, second = model.transformer.h[:2]
    # No other unit of the layer writes along it, nor does the norm turn anything into it.
    out = first.mlp.fc_out
    read = direction - direction.mean()  # the norm takes the mean away
    out.weight.sub_(torch.outer(read, read @ out.weight) / (read @ read))
    out.bias.sub_((read @ out.bias) * read / (read @ read))
    second.ln_1.weight.fill_(1)
    second.ln_1.bias.zero_()
    out.weight[:, UNIT] = WRITE_LENGTH / Z * direction
    second.attn.q_proj.weight.zero_()
    second.attn.v_proj.weight.copy_(torch.outer(direction, read))
    second.attn.out_proj.weight.copy_(HEAD_GAIN * torch.eye(len(direction)))


def _write_coco(folder: Path, drawn: list[tuple[Image.Image, tuple[int, int]]], word: str) -> Path:
    (folder / SPLIT).mkdir(parents=True)
    (folder / "annotations").mkdir()
    images, captions, instances = [], [], []
    for number, (image, (x, y)) in enumerate(drawn, start=1):
        name = f"{number:012d}.png"
        image.save(folder / SPLIT / name)
        images.append({"id": number, "file_name": name, "width": SIDE_PX, "height": SIDE_PX})
        captions.append({"id": number, "image_id": number, "caption": f"A {word} on the ground."})
        angles = np.arange(48) * 2 * math.pi / 48
        outline = np.stack([x + RADIUS_PX * np.cos(angles), y + RADIUS_PX * np.sin(angles)], axis=1)
        instances.append(
            {
                "id": number,
                "image_id": number,
                "category_id": 1,
                "iscrowd": 0,
                "area": math.pi * RADIUS_PX**2,
                "bbox": [x - RADIUS_PX, y - RADIUS_PX, 2 * RADIUS_PX, 2 * RADIUS_PX],
                "segmentation": [outline.ravel().tolist()],
            }
        )
    common = {"images": images, "licenses": []}
    categories = [{"id": 1, "name": word, "supercategory": "shape"}]
    for kind, entries in (("captions", captions), ("instances", instances)):
        content = {**common, "annotations": entries, "categories": categories}
        (folder / "annotations" / f"{kind}_{SPLIT}.json").write_text(json.dumps(content))
    return folder
