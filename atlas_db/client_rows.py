"""What the client's lists and statements give: Python's sequences, and tables at a word."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import (
    TYPE_CHECKING,
    Any,
    Generic,
    SupportsIndex,
    TypeVar,
    get_args,
    get_origin,
    get_type_hints,
    overload,
)

from atlas_db.records import ConceptSummary, ImageSummary, UnitSummary

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

Row = TypeVar("Row")

#: What the rows of each list are.
ROW_KINDS: dict[str, type] = {
    "units": UnitSummary,
    "concepts": ConceptSummary,
    "images": ImageSummary,
}


class Records(tuple[Row, ...], Generic[Row]):
    """Records of one class in their order, and as a table at a word.

    Args:
        kind: Their class.
        rows: The records.
    """

    _kind: type

    def __new__(cls, kind: type, rows: Iterable[Row] = ()) -> Records[Row]:
        made = super().__new__(cls, rows)
        made._kind = kind
        return made

    def __getnewargs__(self) -> tuple[Any, ...]:
        return self._kind, tuple(self)

    @overload
    def __getitem__(self, index: SupportsIndex) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> Records[Row]: ...
    def __getitem__(self, index: Any) -> Any:
        found = super().__getitem__(index)
        return Records(self._kind, found) if isinstance(index, slice) else found

    def to_arrow(self) -> pa.Table:
        """Make an Arrow table with a column for each field, as in the API's JSON."""
        from atlas_db.client_tables import to_table

        return to_table(self._kind, self)

    def to_pandas(self) -> pd.DataFrame:
        """Make a pandas data frame; needs pandas."""
        return self.to_arrow().to_pandas()

    def __repr__(self) -> str:
        return f"<{len(self)} records>"


def with_tables(record: Any) -> Any:
    """Give a record whose tuples of records become tables at a word too."""
    lists = {}
    for name, hint in get_type_hints(type(record)).items():
        kind = get_args(hint)[0] if get_origin(hint) is tuple else None
        if isinstance(kind, type) and dataclasses.is_dataclass(kind):
            lists[name] = Records(kind, getattr(record, name))
    return dataclasses.replace(record, **lists)


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
