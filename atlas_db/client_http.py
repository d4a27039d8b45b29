"""`atlas_db.client.Atlas` over HTTP, with the standard library alone (and pyarrow for SQL)."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote, urlencode

from atlas_db.client_rows import SqlRows
from atlas_db.errors import AtlasError, NotInAtlasError, NotMeasuredError
from atlas_db.from_json import from_json
from atlas_db.records import (
    AtlasInfo,
    ConceptRecord,
    ConceptSummary,
    ImageRecord,
    ImageSummary,
    LayerRecord,
    Page,
    UnitRecord,
    UnitSummary,
)

_TIMEOUT_S = 60.0
_PREFIX = "/api/v1"
_ROWS: dict[str, type] = {
    "units": UnitSummary,
    "concepts": ConceptSummary,
    "images": ImageSummary,
}


class HttpSource:
    """A server of an atlas."""

    def __init__(self, address: str) -> None:
        self._base = address.rstrip("/").removesuffix(_PREFIX) + _PREFIX

    def close(self) -> None:
        """Nothing stays open between calls."""

    def info(self) -> AtlasInfo:
        info: AtlasInfo = from_json(AtlasInfo, self._get("/atlas"))
        return info

    def layers(self) -> Sequence[LayerRecord]:
        return [from_json(LayerRecord, row) for row in self._get("/layers")["rows"]]

    def unit(self, layer: int, unit: int) -> UnitRecord:
        record: UnitRecord = from_json(UnitRecord, self._get(f"/units/{layer}/{unit}"))
        return record

    def concept(self, word: str, match: str, limit: int) -> ConceptRecord:
        query = {"match": match, "limit": limit}
        record: ConceptRecord = from_json(
            ConceptRecord, self._get(f"/concepts/{quote(word, safe='')}", query)
        )
        return record

    def image(self, image_id: int) -> ImageRecord:
        record: ImageRecord = from_json(ImageRecord, self._get(f"/images/{image_id}"))
        return record

    def thumbnail(self, image_id: int) -> bytes | None:
        try:
            return self._send(f"/images/{image_id}/thumbnail.webp")[0]
        except NotInAtlasError:
            self.image(image_id)  # or it is not in the atlas at all
            return None

    def rows(self, kind: str, filters: dict[str, Any], limit: int, start: Any) -> Page[Any]:
        query = {name: json.dumps(value) if isinstance(value, bool) else value
                 for name, value in filters.items()}  # fmt: skip
        cursor = {} if start is None else {"cursor": start}
        answer = self._get(f"/{kind}", {**query, "limit": limit, **cursor})
        rows = tuple(from_json(_ROWS[kind], row) for row in answer["rows"])
        return Page(rows, answer["total"], answer["next_cursor"])

    def sql(self, statement: str, parameters: dict[str, Any], limit: int) -> SqlRows:
        import pyarrow as pa

        body = {"q": statement, "parameters": parameters, "limit": limit, "format": "arrow"}
        received, headers = self._send("/sql", body=json.dumps(body).encode("utf-8"))
        table = pa.ipc.open_stream(received).read_all()
        return SqlRows(table, headers.get("X-Truncated") == "true")

    def _get(self, address: str, query: dict[str, Any] | None = None) -> Any:
        text = f"?{urlencode(query)}" if query else ""
        return json.loads(self._send(address + text)[0])

    def _send(self, address: str, *, body: bytes | None = None) -> tuple[bytes, Any]:
        """Ask; give the answer's body and headers.

        Raises:
            NotInAtlasError: The server has no such thing.
            ValueError: It refuses what was asked; says why.
            AtlasError: It cannot be reached, or cannot answer.
        """
        headers = {"Content-Type": "application/json"} if body is not None else {}
        request = urllib.request.Request(self._base + address, data=body, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as response:
                return response.read(), response.headers
        except urllib.error.HTTPError as error:
            with error:
                raise _what_it_means(error.code, error.read(), self._base) from None
        except (OSError, urllib.error.URLError) as error:
            reason = getattr(error, "reason", error)
            raise AtlasError(
                f"{self._base} cannot be reached: {reason}. Is the address right, and does "
                "`neuron-atlas serve` run there?"
            ) from None


def _what_it_means(status: int, body: bytes, base: str) -> Exception:
    try:
        error = json.loads(body)["error"]
        text = f"{error['message']} {error['hint']}"
    except (ValueError, KeyError, TypeError):
        return AtlasError(f"{base} answered {status}, and not as an atlas does.")
    if status == 404:
        return NotInAtlasError(error["message"])
    if status == 422:
        return NotMeasuredError(error["message"])
    return ValueError(text) if status in (400, 403, 409, 413, 414) else AtlasError(text)
