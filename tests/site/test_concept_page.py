"""The pages of concepts: cards that were kept are those that would be made."""

import numpy as np
import pytest
from atlas_site.concept_page import UnitCards, concept_page
from atlas_site.context import OWN_PAGE, ConceptLink, Site
from atlas_site.first_exemplars import Tile
from sqlalchemy import Connection

from atlas_db import queries


@pytest.fixture
def site(connection: Connection) -> Site:
    info = queries.atlas_info(connection)
    found = queries.concepts(connection, limit=info.n_concepts).rows
    return Site(
        info=info,
        kinds=np.full(info.n_units, OWN_PAGE, np.uint8),
        group=0,
        layers=frozenset(range(info.n_layers)),
        concepts={one.concept: ConceptLink(one.slug, one.n_units) for one in found},
        pictures=frozenset(),
    )


class _Tiles:
    """Exemplars of noise, and how often they were asked for."""

    def __init__(self, site: Site) -> None:
        self.n_patch, self.n_asked = site.info.n_patch, 0

    def __call__(self, uid: int) -> list[Tile]:
        self.n_asked += 1
        random = np.random.default_rng(uid)
        return [(rank, random.integers(0, 256, self.n_patch, np.uint8)) for rank in range(4)]


@pytest.mark.parametrize("n_kept", [1, 3, 1000])
def test_cards_that_were_kept_are_those_that_would_be_made(
    connection: Connection, site: Site, n_kept: int
) -> None:
    tiles = _Tiles(site)
    cards = UnitCards(site, tiles, n_kept)
    n_cards = 0
    for record in queries.concept_records(connection):
        page = concept_page(site, record, cards)
        assert page == concept_page(site, record, UnitCards(site, _Tiles(site)))
        assert len(cards._kept) <= n_kept
        n_cards += page.content.count('<article class="na-card">')
        for row in record.units[:8]:
            assert row.unit.name in page.content
    assert tiles.n_asked <= n_cards
    if n_kept == 1000:
        assert tiles.n_asked == len(cards._kept) < n_cards
