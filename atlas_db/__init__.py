"""The hub: the run folder's format, the DuckDB file, and every read of it.

    from atlas_db import Atlas

    Atlas("atlas.duckdb").concept("water")

Importing this package loads neither DuckDB nor SQLAlchemy, so a GPU machine can use
`atlas_db.run_format` with pyarrow alone.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from atlas_db.client import Atlas

__all__ = ["Atlas"]


def __getattr__(name: str) -> Any:
    if name == "Atlas":
        from atlas_db.client import Atlas

        return Atlas
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
