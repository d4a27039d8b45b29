"""What every mapping of an atlas's tables is made of: its base and the types of its columns."""

from __future__ import annotations

from typing import Annotated, Any

from sqlalchemy import REAL, BigInteger, Integer, LargeBinary, SmallInteger, Text
from sqlalchemy import types as sqltypes
from sqlalchemy.orm import DeclarativeBase, mapped_column

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


class Base(DeclarativeBase):
    """A mapping, declared as `class Unit(Base, table="units", key="uid")`.

    `key` names the columns that tell rows apart, for the ORM alone.
    """

    def __init_subclass__(cls, *, table: str, key: str, **options: Any) -> None:
        cls.__tablename__ = table
        cls.__mapper_args__ = {"primary_key": key.split()}
        super().__init_subclass__(**options)
