"""The shipped miniature loads, is small, and names the scenes of held-out pictures."""

import json

from builder.captioner import load_captioner
from builder.miniature.check import check_captions
from builder.miniature.shipped import shipped_captioner

N_PICTURES = 40
MAX_BYTES = 40_000_000


def test_it_is_small_enough_and_says_what_it_is() -> None:
    folder = shipped_captioner()
    weights = list(folder.rglob("*.safetensors"))
    assert len(weights) == 3
    assert sum(path.stat().st_size for path in weights) <= MAX_BYTES
    config = json.loads((folder / "captioner.json").read_text())
    assert config["is_random"] is False
    card = (folder / "README.md").read_text()
    assert "held out" in card
    assert "Limits" in card


def test_it_names_scenes_of_pictures_it_never_saw() -> None:
    found = check_captions(load_captioner(shipped_captioner()), n_pictures=N_PICTURES)
    assert found.scene.value > 0.6
    assert found.scene.value > 2.5 * found.scene.chance
    assert found.either.value >= found.scene.value
