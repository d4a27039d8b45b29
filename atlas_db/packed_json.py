"""JSON texts packed with gzip, such that fields can be added without unpacking them.

An object that is packed open ends before its last brace, at the end of a whole byte of the deflated
data (RFC 1951, a flush). What closes it goes behind that as a block of plain bytes; the checksum of
the whole follows from that of its beginning. The result is one gzip stream like any other.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from types import ModuleType
from typing import Any

from atlas_db.as_json import dumps

_packer: ModuleType
try:  # five times as quick as zlib, and 3 % longer
    from isal import isal_zlib

    _packer, _LEVEL = isal_zlib, 1
except ImportError:  # no extra `api`, or a machine that it is not built for
    _packer, _LEVEL = zlib, 5

_HEADER = b"\x1f\x8b\x08" + bytes(6) + b"\xff"  # RFC 1952: deflated, of no date and no system
#: Checksum and size of the text, at the end.
_TRAILER = struct.Struct("<II")
#: Of the last block, whose bytes are plain: its kind, their number and the same number inverted.
_PLAIN_BLOCK = struct.Struct("<BHH")
#: Tells zlib of gzip's header; `gzip.decompress` takes twice as long.
_GZIP_WINDOW = 31


def pack(text: str) -> bytes:
    """Pack a text and a line's end."""
    return pack_bytes(f"{text}\n".encode())


def pack_bytes(text: bytes) -> bytes:
    """Pack a text as it is."""
    packed: bytes = _packer.compress(text, _LEVEL, _GZIP_WINDOW)
    return packed


def pack_open(text: str) -> bytes:
    """Pack the text of a JSON object that is not empty, to be closed by `close`."""
    begun = text.rstrip()[:-1].encode("utf-8")
    compressor = _packer.compressobj(_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
    deflated = compressor.compress(begun) + compressor.flush(_packer.Z_FULL_FLUSH)
    return _HEADER + deflated + _TRAILER.pack(zlib.crc32(begun), len(begun))


def close(packed: bytes, fields: Mapping[str, Any]) -> bytes:
    """Add fields, one at least, to what was packed open, and a line's end.

    Args:
        packed: Of `pack_open`.
        fields: Their JSON has 65,535 bytes at most.
    """
    end = f",{dumps(fields)[1:]}\n".encode()
    checksum, size = _TRAILER.unpack(packed[-_TRAILER.size :])
    block = _PLAIN_BLOCK.pack(1, len(end), len(end) ^ 0xFFFF) + end
    trailer = _TRAILER.pack(zlib.crc32(end, checksum), size + len(end))
    return packed[: -_TRAILER.size] + block + trailer


def unpack(packed: bytes) -> bytes:
    """Give the text that was packed, or was packed open and closed."""
    return zlib.decompress(packed, _GZIP_WINDOW)
