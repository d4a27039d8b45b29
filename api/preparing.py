"""Answers that are written in the background while an atlas is served already.

A thread looks now and then whether the atlas that is served has its answers beside it
(`atlas_db.ready_answers`), and if not has them written by a process of its own, at the lowest
priority. Until they are there, units and concepts are worked out at each request. An atlas that is
published later gets its own.
"""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
import time

from api.atlas_source import AtlasSource, Identity
from atlas_db.errors import AtlasFileError
from atlas_db.ready_answers import LOOK_AGAIN_S

LOG = logging.getLogger("neuron_atlas.api")
#: An atlas that another process prepares is looked at again after this long.
TRY_AGAIN_S = 600.0
_END_TIMEOUT_S = 5.0


class Preparing:
    """The thread and its process.

    Args:
        source: Whose atlas is prepared.
    """

    def __init__(self, source: AtlasSource) -> None:
        self._source = source
        self._end = threading.Event()
        self._tried: dict[Identity, float] = {}
        self._thread = threading.Thread(target=self._run, name="preparing", daemon=True)

    def start(self) -> None:
        """Begin; returns at once."""
        self._thread.start()

    def close(self) -> None:
        """End what runs; nothing half-written is left."""
        self._end.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while not self._end.is_set():
            identity = self._unprepared()
            if identity is not None:
                self._prepare(identity)
            self._end.wait(LOOK_AGAIN_S)

    def _unprepared(self) -> Identity | None:
        try:
            atlas = self._source.acquire()
        except AtlasFileError:
            return None  # requests are told
        try:
            tried_s = self._tried.get(atlas.identity)
            waits = tried_s is not None and time.monotonic() - tried_s < TRY_AGAIN_S
            return None if waits or atlas.answers.are_there() else atlas.identity
        finally:
            self._source.release(atlas)

    def _prepare(self, identity: Identity) -> None:
        self._tried[identity] = time.monotonic()
        LOG.info("writing answers beside %s in the background", identity.path)
        command = [sys.executable, "-m", "atlas_db.ready_answers", str(identity.path)]
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C is the server's, which then ends this
        )
        while process.poll() is None:
            if self._end.wait(0.1):
                _terminate(process)
                return
        said = process.communicate()[1].strip()
        if process.returncode == 0:
            LOG.info("units and concepts of %s are answered from what is written", identity.path)
        else:
            LOG.warning("%s", said.splitlines()[-1] if said else "the answers were not written")


def _terminate(process: subprocess.Popen[str]) -> None:
    process.terminate()
    try:
        process.communicate(timeout=_END_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
