"""Statements that are built once: one row by its key, or a range of rows.

Numbers go into their text (`literal_execute`): DuckDB's Python client looks for pandas anew with
every parameter that it is given, which takes longer than the look-up itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import BigInteger, Connection, Select, bindparam

FIRST = bindparam("first", type_=BigInteger, literal_execute=True)
STOP = bindparam("stop", type_=BigInteger, literal_execute=True)


@dataclass(frozen=True)
class Ranged:
    """A statement for one value of a column and one for a range; indexes serve equality alone."""

    one: Select[Any]
    many: Select[Any]

    def rows(self, connection: Connection, first: int, stop: int) -> Sequence[Any]:
        """Fetch the rows of first <= column < stop."""
        if stop == first + 1:
            return connection.execute(self.one, {"first": first}).all()
        return connection.execute(self.many, {"first": first, "stop": stop}).all()


def ranged(statement: Any, column: Any) -> Ranged:
    """Restrict a statement by a column."""
    return Ranged(statement.where(column == FIRST), statement.where(column >= FIRST, column < STOP))
