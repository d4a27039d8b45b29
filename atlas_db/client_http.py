"""`atlas_db.client.Atlas` over HTTP, with the standard library alone (and pyarrow for SQL)."""

from __future__ import annotations

import gzip
import http.client
import json
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote, urlencode

from atlas_db.client_rows import ROW_KINDS, SqlRows
from atlas_db.errors import AtlasError, NotInAtlasError, NotMeasuredError
from atlas_db.experiment_records import ExperimentRecord, ImageExperiments, UnitExperiments
from atlas_db.from_json import from_json
from atlas_db.records import (
    AtlasInfo,
    ConceptRecord,
    ImageRecord,
    LayerRecord,
    Page,
    TableRecord,
    UnitRecord,
)

_TIMEOUT_S = 60.0
_PREFIX = "/api/v1"
#: Of a list at once, as the server has it.
_MAX_ROWS = 500
#: How long a server is asked again that has too much to do.
_PATIENCE_S = 30.0


class _BusyError(Exception):
    """The server asks to be asked later.

    Attributes:
        wait_s: After that long.
    """

    def __init__(self, message: str, wait_s: float) -> None:
        super().__init__(message)
        self.wait_s = wait_s


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

    def concept(self, word: str, match: str, sort: str, limit: int) -> ConceptRecord:
        # Of no letter is made a space: the server then says what it wants.
        address = f"/concepts/{quote(word or ' ', safe='')}"
        query: dict[str, Any] = {"match": match, "sort": sort, "limit": min(limit, _MAX_ROWS)}
        answer = self._get(address, query)
        units, cursor = answer["units"], answer["next_cursor"]
        while cursor is not None and len(units) < limit:
            wanted = min(limit - len(units), _MAX_ROWS)
            more = self._get(address, {**query, "limit": wanted, "cursor": cursor})
            units, cursor = units + more["units"], more["next_cursor"]
        record: ConceptRecord = from_json(ConceptRecord, {**answer, "units": units})
        return record

    def image(self, image_id: int) -> ImageRecord:
        record: ImageRecord = from_json(ImageRecord, self._get(f"/images/{image_id}"))
        return record

    def experiments(self) -> Sequence[ExperimentRecord]:
        return [from_json(ExperimentRecord, row) for row in self._get("/experiments")["rows"]]

    def unit_experiments(self, layer: int, unit: int) -> UnitExperiments:
        found = self._get(f"/units/{layer}/{unit}/experiments")
        record: UnitExperiments = from_json(UnitExperiments, found)
        return record

    def image_experiments(self, image_id: int) -> ImageExperiments:
        found = self._get(f"/images/{image_id}/experiments")
        record: ImageExperiments = from_json(ImageExperiments, found)
        return record

    def tables(self) -> Sequence[TableRecord]:
        return [from_json(TableRecord, row) for row in self._get("/sql/schema")["tables"]]

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
        rows = tuple(from_json(ROW_KINDS[kind], row) for row in answer["rows"])
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
        """Ask, and again while the server has too much to do; give the body and the headers.

        Raises:
            NotInAtlasError: The server has no such thing.
            ValueError: It refuses what was asked; says why.
            AtlasError: It cannot be reached, or cannot answer.
        """
        until_s = time.monotonic() + _PATIENCE_S
        while True:
            try:
                return self._send_once(address, body)
            except _BusyError as busy:
                if time.monotonic() + busy.wait_s > until_s:
                    raise AtlasError(str(busy)) from None
                time.sleep(busy.wait_s)

    def _send_once(self, address: str, body: bytes | None) -> tuple[bytes, Any]:
        headers = {"Accept-Encoding": "gzip"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        request = urllib.request.Request(self._base + address, data=body, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as response:
                received, told = response.read(), response.headers
        except urllib.error.HTTPError as error:
            with error:
                raise _what_it_means(error, self._base) from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            reason = getattr(error, "reason", error)
            raise AtlasError(
                f"{self._base} cannot be reached: {reason}. Is the address right, and does "
                "`neuron-atlas serve` run there?"
            ) from None
        return gzip.decompress(received) if _is_packed(told) else received, told


def _is_packed(headers: Any) -> bool:
    return bool(headers.get("Content-Encoding") == "gzip")


def _what_it_means(answer: urllib.error.HTTPError, base: str) -> Exception:
    status = answer.code
    try:
        error = json.loads(answer.read())["error"]
        message, hint = error["message"], error["hint"]
    except (ValueError, KeyError, TypeError):
        return AtlasError(f"{base} answered {status}, and not as an atlas does.")
    text = f"{message}{' ' if message.endswith('.') else chr(10)}{hint}"
    wait_s = answer.headers.get("Retry-After", "")
    if status == 429 and wait_s.isdecimal():
        return _BusyError(text, float(wait_s))
    if status == 404:
        return NotInAtlasError(message)
    if status == 422:
        return NotMeasuredError(message)
    return ValueError(text) if status in (400, 403, 409, 413, 414) else AtlasError(text)
