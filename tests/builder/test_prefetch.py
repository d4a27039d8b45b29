"""The same batches, one ahead, and nothing left behind."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch

from builder.images import ImageBatch
from builder.prefetch import prefetch

CPU = torch.device("cpu")


def batch(i: int) -> ImageBatch:
    return ImageBatch((i,), torch.full((1, 3, 2, 2), float(i)), (b"",), ())


class Source:
    """Five batches; knows how many were taken and whether it was closed."""

    def __init__(self, fails_at: int | None = None) -> None:
        self.n_taken = 0
        self.is_closed = False
        self.fails_at = fails_at
        self.taken = threading.Condition()

    def batches(self) -> Iterator[ImageBatch]:
        try:
            for i in range(5):
                if i == self.fails_at:
                    raise OSError("the reader died")
                with self.taken:
                    self.n_taken += 1
                    self.taken.notify_all()
                yield batch(i)
        finally:
            self.is_closed = True


def test_nothing_is_lost_or_moved() -> None:
    source = Source()
    found = list(prefetch(source.batches(), CPU))
    assert [b.image_ids for b in found] == [(i,) for i in range(5)]
    assert [float(b.pixels.mean()) for b in found] == [0, 1, 2, 3, 4]
    assert source.is_closed


def test_one_batch_is_fetched_ahead() -> None:
    source = Source()
    batches = prefetch(source.batches(), CPU)
    next(batches)
    with source.taken:
        assert source.taken.wait_for(lambda: source.n_taken == 2, timeout=10)
    batches.close()  # type: ignore[attr-defined]
    assert source.n_taken == 2


def test_closing_ends_the_thread_and_the_source() -> None:
    source = Source()
    batches = prefetch(source.batches(), CPU)
    next(batches)
    batches.close()  # type: ignore[attr-defined]
    assert source.is_closed
    assert not [t for t in threading.enumerate() if t.name.startswith("prefetch")]


def test_an_error_of_the_reader_arrives_after_the_batches_before_it() -> None:
    batches = prefetch(Source(fails_at=2).batches(), CPU)
    assert [next(batches).image_ids for _ in range(2)] == [(0,), (1,)]
    with pytest.raises(OSError, match="the reader died"):
        next(batches)


class Cuda:
    """Stands for `torch.cuda` and for pixels; notes what is asked of streams, in its order."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.current = "computing"

    def Stream(self, device: torch.device) -> str:  # noqa: N802
        return "copying"

    @contextmanager
    def stream(self, stream: str) -> Iterator[None]:
        before, self.current = self.current, stream
        yield
        self.current = before

    def current_stream(self, device: torch.device) -> "Cuda":
        return self

    def Event(self) -> "Cuda":  # noqa: N802
        return self

    def record(self, stream: str) -> None:
        self.asked.append(f"event on {stream}")

    def wait_event(self, event: object) -> None:
        self.asked.append(f"{self.current} waits")

    def pin_memory(self) -> "Cuda":
        self.asked.append("pin")
        return self

    def to(self, device: torch.device, *, non_blocking: bool) -> "Cuda":
        self.asked.append(f"copy on {self.current}, ahead: {non_blocking}")
        return self

    def record_stream(self, stream: object) -> None:
        self.asked.append(f"in use by {self.current}")


def test_on_cuda_the_copy_is_waited_for_before_a_batch_is_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """From pinned memory, on a stream of its own; its memory is not given away too early."""
    cuda = Cuda()
    for name in ("Stream", "stream", "current_stream", "Event"):
        monkeypatch.setattr(torch.cuda, name, getattr(cuda, name))
    one = replace(batch(0), pixels=cuda)  # type: ignore[arg-type]
    for _ in prefetch(iter([one]), torch.device("cuda")):
        cuda.asked.append("batch")
    assert cuda.asked == [
        "pin",
        "copy on copying, ahead: True",
        "event on copying",
        "computing waits",
        "in use by computing",
        "batch",
    ]
