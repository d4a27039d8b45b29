"""Memory for DuckDB that is little at first, and more where a statement needs it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from sqlalchemy.exc import DBAPIError

from atlas_db.connection import Connection, bound_memory, is_out_of_memory

Result = TypeVar("Result")


class GrowingMemory:
    """What DuckDB may take on a connection, doubled whenever it proves too little.

    The setting is the database's: no other connection of this process may be asked meanwhile.

    Args:
        mb: At first.
        most_mb: Beyond this an error is an error.
    """

    def __init__(self, connection: Connection, mb: int, most_mb: int) -> None:
        self.mb = mb
        self._connection, self._most_mb = connection, most_mb

    def enough_for(self, do: Callable[[], Result]) -> Result:
        """Do what asks statements, and do it again as long as the memory proves too little.

        Raises:
            DBAPIError: Any other error of a statement, or `most_mb` does not suffice either.
        """
        while True:
            try:
                return do()
            except DBAPIError as error:
                if not is_out_of_memory(error) or self.mb >= self._most_mb:
                    raise
            self.mb *= 2
            bound_memory(self._connection, self.mb)
