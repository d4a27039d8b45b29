"""The hub: the run folder's format, the DuckDB file, and every read of it.

Importing this package loads neither DuckDB nor SQLAlchemy, so a GPU machine can use
`atlas_db.run_format` with pyarrow alone.
"""
