"""What the server, the process that is forked from and its children say to one another."""

from __future__ import annotations

import os
import struct
import sys

#: From the process that is forked from: it takes paths. With a child's socket: here it is.
READY = b"R"
#: From a child: it has read its request. One that ends before has done nothing.
BEGUN = b"B"
#: Of a path or a header, before it.
LENGTH = struct.Struct("!I")


def zygote_environment() -> dict[str, str]:
    """Give all that is left of the server's environment: where Python finds its modules.

    OpenBLAS is told to start no threads, which each fork would have to pass over.
    """
    paths = os.pathsep.join(path for path in sys.path if path)
    return {"PYTHONPATH": paths, "OPENBLAS_NUM_THREADS": "1"}
