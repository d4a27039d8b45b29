"""What every mapping of an atlas's tables is made of: its base and the types of its columns."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from sqlalchemy import REAL, BigInteger, Integer, LargeBinary, SmallInteger, Table, Text
from sqlalchemy import types as sqltypes
from sqlalchemy.orm import DeclarativeBase, MappedColumn, mapped_column

Small = Annotated[int, mapped_column(SmallInteger)]
Small_ = Annotated[int | None, mapped_column(SmallInteger)]
Int = Annotated[int, mapped_column(Integer)]
Int_ = Annotated[int | None, mapped_column(Integer)]
Big = Annotated[int, mapped_column(BigInteger)]
Real = Annotated[float, mapped_column(REAL)]
Real_ = Annotated[float | None, mapped_column(REAL)]
Double = Annotated[float, mapped_column(sqltypes.Double)]
Double_ = Annotated[float | None, mapped_column(sqltypes.Double)]
Blob = Annotated[bytes, mapped_column(LargeBinary)]
Texts = Annotated[list[str], mapped_column(sqltypes.ARRAY(Text))]


#: What columns of these names hold, in every table that says nothing else of them.
_COMMON = {
    "uid": "layer * units_per_layer + unit",
    "layer": "from 0, at the input",
    "unit": "from 0, in its layer",
    "image_id": "number of the image in the data set",
    "target": "which of the image's target words, from 0",
    "category_id": "number of the category in the data set",
    "token_id": "number of the token in the vocabulary",
    "token": "as the model writes it, leading space kept; bytes that are no UTF-8 as \\xNN",
    "concept": "a token without its case and the space around it; null if nothing is left",
    "rank": "from 1",
    "patch": "from 0, row by row from the top left",
    "attribution": "z * gradient, in logits of the target",
    "z": "pre-activation at that patch, in the model's units",
    "a": "activation at that patch, in the model's units",
    "gradient": "of the target's logit with respect to z",
    "heatmap_scale": "activation = heatmap_zero + heatmap_scale * byte",
    "heatmap_zero": "activation = heatmap_zero + heatmap_scale * byte",
    "iou": "each map cut at its own 95th percentile",
    "iou_unit_threshold": "cut at the unit's 95th percentile over all images",
    "object_share": "of the image that the object covers",
    "iou_bound": "the greatest IoU that a mask of 5 % can have",
    "random_iou": "of units of the same layer",
}


def about(text: str, *kind: Any) -> MappedColumn[Any]:
    """Say what a column holds, where its name and its table do not: the file keeps it as a comment.

    Args:
        text: A phrase, with the unit of measure and what null means.
        kind: The type, where the annotation does not name one.
    """
    return mapped_column(*kind, comment=text)


class Base(DeclarativeBase):
    """A mapping, declared as `class Unit(Base, table="units", key="uid")`.

    `key` names the columns that tell rows apart, for the ORM alone. The first paragraph of the
    docstring is the table's comment: what one row of it is.
    """

    __table__: ClassVar[Table]

    def __init_subclass__(cls, *, table: str, key: str, **options: Any) -> None:
        cls.__tablename__ = table
        cls.__mapper_args__ = {"primary_key": key.split()}
        super().__init_subclass__(**options)
        cls.__table__.comment = str(cls.__doc__).split("\n\n")[0]
        for column in cls.__table__.columns:
            column.comment = column.comment or _COMMON.get(column.name)
