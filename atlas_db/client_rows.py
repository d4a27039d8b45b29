"""What the client's lists and statements give: Python's sequences, and tables at a word."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from atlas_db.as_json import as_json

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

Row = TypeVar("Row")


class Records(tuple[Row, ...], Generic[Row]):
    """Records in their order, and as a table at a word."""

    __slots__ = ()

    def to_arrow(self) -> pa.Table:
        """Make an Arrow table with a column for each field, as in the API's JSON."""
        import pyarrow as pa

        return pa.Table.from_pylist(as_json(self))

    def to_pandas(self) -> pd.DataFrame:
        """Make a pandas data frame; needs pandas."""
        return self.to_arrow().to_pandas()

    def __repr__(self) -> str:
        return f"<{len(self)} records>"


@dataclass(frozen=True)
class SqlRows(Sequence[dict[str, Any]]):
    """What a statement gave: a sequence of rows, each a dictionary.

    Attributes:
        table: The same as an Arrow table.
        truncated: There are more rows than these.
    """

    table: pa.Table
    truncated: bool

    def to_arrow(self) -> pa.Table:
        """Give the rows as an Arrow table."""
        return self.table

    def to_pandas(self) -> pd.DataFrame:
        """Make a pandas data frame; needs pandas."""
        return self.table.to_pandas()

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return self.table.to_pylist()[index]
        place = range(len(self))[index]
        return self.table.slice(place, 1).to_pylist()[0]

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self.table.to_pylist())

    def __repr__(self) -> str:
        more = ", and there are more" if self.truncated else ""
        return f"<{len(self)} rows of {', '.join(self.table.column_names)}{more}>"
