"""The views of an atlas: what its tables say, put together for who asks in SQL."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from atlas_db.schema import (
    Exemplar,
    UnitCategory,
)
from atlas_db.schema_base import Base
from atlas_db.schema_experiments import (
    UnitAgreement,
    UnitCategoryMasks,
    UnitEffect,
    UnitMasks,
    UnitSelectivity,
    UnitText,
)


@dataclass(frozen=True, slots=True)
class View:
    """A view: the statement that makes it, what one row is, what its columns hold."""

    name: str
    about: str
    columns: Mapping[str, str]
    select: str

    @property
    def statement(self) -> str:
        """Give the statement that makes it."""
        return f"CREATE VIEW {self.name} AS\n{self.select}"


def _texts(*tables: type[Base], **own: str) -> dict[str, str]:
    """Say of columns what their tables say, the first that has one of the name, and what is new."""
    said = {
        column.name: column.comment or ""
        for table in reversed(tables)
        for column in table.__table__.columns
    }
    return said | own


_EXEMPLAR_ACTIVATIONS = View(
    "exemplar_activations",
    "An exemplar's activation map as a list, row by row from the top left.",
    _texts(Exemplar, activations="of each patch, in the model's units"),
    """\
SELECT exemplars.uid, exemplars.layer, exemplars.unit, exemplars.rank, exemplars.image_id,
    [
        zeros[rank] + scales[rank]
            * ('0x' || hex(array_slice(maps, place, place)))::UTINYINT::FLOAT
        FOR place IN range(
            (rank - 1) * octet_length(maps) // len(scales) + 1,
            rank * octet_length(maps) // len(scales) + 1
        )
    ] AS activations
FROM exemplars JOIN heatmaps USING (uid)
""",
)

_UNIT_FIGURES = View(
    "unit_figures",
    "What the experiments say of a unit, side by side; null: did not look.",
    _texts(
        UnitEffect,
        UnitMasks,
        UnitSelectivity,
        UnitAgreement,
        UnitText,
        n_zeroed_images="images on which it was zeroed",
        n_mask_images="images on which it was held against masks",
        n_agreement_images="images that its words were held against",
    ),
    """\
SELECT units.uid, units.layer, units.unit,
    unit_effects.n_images AS n_zeroed_images, logit_drop, prob_drop, relative_drop,
    random_logit_drop, random_prob_drop, random_relative_drop,
    unit_masks.n_images AS n_mask_images, iou, iou_unit_threshold, object_share, iou_bound,
    random_iou, n_categories, entropy, entropy_p, best_category_id,
    unit_agreement.n_images AS n_agreement_images, agreement, random_agreement,
    n_concepts, rank_correlation, auc, auc_p
FROM units
LEFT JOIN unit_effects USING (uid)
LEFT JOIN unit_masks USING (uid)
LEFT JOIN unit_selectivity USING (uid)
LEFT JOIN unit_agreement USING (uid)
LEFT JOIN unit_text USING (uid)
""",
)

_UNIT_CATEGORY_FIGURES = View(
    "unit_category_figures",
    "What is known of a unit and a category, side by side.",
    _texts(
        UnitCategory,
        UnitCategoryMasks,
        n_mask_images="images on which it was held against masks",
        n_category_images="images of the category whose activations were looked at",
        category_activation="greatest over the patches, averaged over these images",
    ),
    """\
SELECT uid, category_id, coalesce(unit_categories.n_images, 0) AS n_images, mean_activation,
    unit_category_masks.n_images AS n_mask_images, iou, iou_unit_threshold, object_share,
    iou_bound, random_iou,
    unit_category_activations.n_images AS n_category_images, activation AS category_activation
FROM unit_categories
FULL JOIN unit_category_masks USING (uid, category_id)
FULL JOIN unit_category_activations USING (uid, category_id)
""",
)

VIEWS = (_EXEMPLAR_ACTIVATIONS, _UNIT_FIGURES, _UNIT_CATEGORY_FIGURES)
