"""Batches on the device before they are asked for.

While the device works on one batch, a thread takes the next from the readers, normalises it and
copies it over through pinned memory on a stream of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import torch

from builder.images import ImageBatch


def prefetch(batches: Iterator[ImageBatch], device: torch.device) -> Iterator[ImageBatch]:
    """Give the same batches, their pixels on `device`, each one fetched a batch ahead.

    Closing the iterator waits for the batch under way and closes `batches`.
    """
    copier = _CudaCopier(device) if device.type == "cuda" else None

    def fetch() -> tuple[ImageBatch, torch.cuda.Event | None] | None:
        batch = next(batches, None)
        if batch is None:
            return None
        return (batch, None) if copier is None else copier.send(batch)

    try:
        # The first from this thread: it starts the reading processes.
        fetched = fetch()
        with ThreadPoolExecutor(1, thread_name_prefix="prefetch") as pool:
            while fetched is not None:
                batch, copied = fetched
                ahead = pool.submit(fetch)
                if copied is not None:
                    stream = torch.cuda.current_stream(device)
                    stream.wait_event(copied)
                    batch.pixels.record_stream(stream)
                yield batch
                fetched = ahead.result()
    finally:
        close = getattr(batches, "close", None)
        if close is not None:
            close()


class _CudaCopier:
    """Copies on a stream of its own, beside the one that computes."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.stream = torch.cuda.Stream(device)

    def send(self, batch: ImageBatch) -> tuple[ImageBatch, torch.cuda.Event]:
        """Start the copy; the event says when it is done."""
        with torch.cuda.stream(self.stream):
            pixels = batch.pixels.pin_memory().to(self.device, non_blocking=True)
            copied = torch.cuda.Event()
            copied.record(self.stream)
        return replace(batch, pixels=pixels), copied
