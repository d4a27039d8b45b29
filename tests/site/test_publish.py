"""The output folder: unchanged files are not touched, stale ones go, strangers' files stay."""

import json
import os
from pathlib import Path

import pytest
from atlas_site.publish import MARKER, Publisher

from atlas_db.errors import SiteError


def _publish(out: Path, files: dict[str, bytes]) -> Publisher:
    publisher = Publisher(out)
    for address, content in files.items():
        publisher.write(address, content)
    publisher.remove_stale()
    return publisher


def test_files_are_written_once(tmp_path: Path) -> None:
    files = {"a.html": b"a", "u/0/1.html": b"b"}
    first = _publish(tmp_path / "out", files)
    assert (first.n_written, first.n_unchanged, first.n_bytes) == (2, 0, 2)
    stamp = (tmp_path / "out" / "u/0/1.html").stat().st_mtime_ns
    second = _publish(tmp_path / "out", files)
    assert (second.n_written, second.n_unchanged, second.n_removed) == (0, 2, 0)
    assert (tmp_path / "out" / "u/0/1.html").stat().st_mtime_ns == stamp


def test_a_change_of_the_same_length_is_written(tmp_path: Path) -> None:
    _publish(tmp_path, {"a.html": b"old"})
    assert _publish(tmp_path, {"a.html": b"new"}).n_written == 1
    assert (tmp_path / "a.html").read_bytes() == b"new"


def test_a_file_larger_than_one_write_takes_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda place, content: write(place, content[:1000]))
    content = bytes(range(256)) * 10
    _publish(tmp_path, {"a.html": content})
    assert (tmp_path / "a.html").read_bytes() == content


def test_a_shorter_file_leaves_nothing_of_a_longer_one(tmp_path: Path) -> None:
    _publish(tmp_path, {"a.html": b"a long page"})
    assert _publish(tmp_path, {"a.html": b"short"}).n_written == 1
    assert (tmp_path / "a.html").read_bytes() == b"short"


def test_a_link_to_nowhere_is_written_through(tmp_path: Path) -> None:
    _publish(tmp_path / "out", {"a.html": b"a"})
    (tmp_path / "out/a.html").unlink()
    (tmp_path / "out/a.html").symlink_to(tmp_path / "elsewhere.html")
    assert _publish(tmp_path / "out", {"a.html": b"b"}).n_written == 1
    assert (tmp_path / "elsewhere.html").read_bytes() == b"b"


def test_what_is_no_longer_made_is_removed(tmp_path: Path) -> None:
    _publish(tmp_path, {"a.html": b"a", "u/0/1.html": b"b", "u/1/1.html": b"c"})
    (tmp_path / ".htaccess").write_text("kept")
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "config").write_text("kept")
    publisher = _publish(tmp_path, {"a.html": b"a", "u/1/1.html": b"c"})
    assert publisher.n_removed == 1
    assert not (tmp_path / "u" / "0").exists()
    assert (tmp_path / "u/1/1.html").exists()
    assert (tmp_path / ".htaccess").exists()
    assert (tmp_path / ".git" / "config").exists()


def test_a_strange_folder_is_refused_untouched(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(SiteError, match=r"thesis\.tex.*empty or new folder"):
        Publisher(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("x")
    with pytest.raises(SiteError, match="is a file"):
        Publisher(tmp_path / "out")


def test_an_unfinished_site_says_so(tmp_path: Path) -> None:
    publisher = Publisher(tmp_path)
    publisher.remove_stale()
    assert json.loads((tmp_path / MARKER).read_text()) == {
        "made_by": "neuron-atlas",
        "complete": False,
    }
