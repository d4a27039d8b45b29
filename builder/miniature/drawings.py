"""Which function draws which concept of the picture world."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from builder.miniature import draw_animals, draw_places, draw_things, draw_vehicles
from builder.miniature.concepts import Concept, concepts
from builder.miniature.pen import Colour, Pen

Drawing = Callable[[Pen, Colour], None]

_MODULE_OF_KIND = {
    "animal": draw_animals,
    "vehicle": draw_vehicles,
    "food": draw_things,
    "tableware": draw_things,
    "furniture": draw_things,
    "thing": draw_things,
    "person": draw_places,
    "building": draw_places,
    "plant": draw_places,
    "sky": draw_places,
}


def _drawing(concept: Concept) -> Drawing:
    return getattr(_MODULE_OF_KIND[concept.kind], concept.name)


#: Draws a concept, by name, with a pen in a given main colour.
DRAWINGS: Mapping[str, Drawing] = {name: _drawing(concept) for name, concept in concepts().items()}
