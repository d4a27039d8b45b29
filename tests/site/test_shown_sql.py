"""Every statement that a page shows can be pasted as it stands, and answers."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path
from typing import Any

import duckdb
import pytest
from site_browser import KINDS

_CODE = re.compile(r"<pre[^>]*>(.*?)</pre>", re.DOTALL)


def _statements(path: Path) -> list[str]:
    blocks = [unescape(re.sub(r"<[^>]*>", "", block)) for block in _CODE.findall(path.read_text())]
    return [block for block in blocks if re.match(r"\s*(SELECT|WITH)\b", block)]


@pytest.mark.parametrize("kind", KINDS)
def test_shown_sql_runs_as_pasted(built_site: Any, synthetic_atlas: Path, kind: str) -> None:
    statements = _statements(built_site.folder / kind)
    if kind.startswith(("u/", "i/139.", "c/", "categories", "explore", "sql")):
        assert statements
    with duckdb.connect(str(synthetic_atlas), read_only=True) as connection:
        for sql in statements:
            rows = connection.execute(sql).fetchall()
            # No unit of an atlas of noise stands for a category.
            assert rows or kind == "categories.html", sql
