"""A file's digest is of its content; the shortcut by size and time, and what it cannot see."""

import hashlib
import os
import time

import pytest

from workbench.io import digests
from workbench.io.digests import file_digest, file_digests, in_full, short_digest


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


def aged(path, content: bytes):
    """A file that was written a minute ago."""
    path.write_bytes(content)
    os.utime(path, (time.time() - 60,) * 2)
    return path


def test_a_digest_is_of_the_content_and_not_of_the_name(tmp_path):
    content = os.urandom(3 * 2**20 + 5)
    one, other = aged(tmp_path / "one", content), aged(tmp_path / "other", content)
    expected = hashlib.sha256(content).hexdigest()
    assert file_digests([one, other]) == [expected, expected]
    aged(one, content[:-1] + bytes([content[-1] ^ 1]))
    assert file_digest(one) != expected


def test_a_file_that_kept_size_and_time_is_not_read_again(tmp_path, cache):
    file = aged(tmp_path / "weights", b"a" * 100)
    before, state = file_digest(file), file.stat()
    file.write_bytes(b"b" * 100)
    os.utime(file, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert file_digest(file) == before  # what the shortcut cannot see
    with in_full():
        assert file_digest(file) == hashlib.sha256(b"b" * 100).hexdigest()
    assert file_digest(file) == hashlib.sha256(b"b" * 100).hexdigest()


def test_a_file_that_has_just_changed_is_always_read(tmp_path, cache):
    """Two changes within one tick of the file system's clock leave one time."""
    file = tmp_path / "weights"
    file.write_bytes(b"a" * 100)
    state = file.stat()
    first = file_digest(file)
    file.write_bytes(b"b" * 100)
    os.utime(file, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert file_digest(file) != first
    assert not list(cache.rglob("*.json"))


def test_links_lead_to_one_digest_and_a_damaged_record_is_no_digest(tmp_path, cache):
    file = aged(tmp_path / "weights", b"content")
    link = tmp_path / "link"
    link.symlink_to(file)
    assert file_digest(link) == file_digest(file)
    (record,) = cache.rglob("*.json")
    for damage in ("", "{", "[1, 2]", "null", '{"a": 1}'):
        record.write_text(damage)
        assert file_digest(file) == hashlib.sha256(b"content").hexdigest()


def test_a_cache_that_cannot_be_written_costs_time_only(tmp_path, monkeypatch):
    (tmp_path / "no-folder").write_text("a file")
    monkeypatch.setattr(digests, "cache_folder", lambda: tmp_path / "no-folder")
    assert file_digest(aged(tmp_path / "w", b"x")) == hashlib.sha256(b"x").hexdigest()


def test_a_missing_file_is_an_error(tmp_path):
    with pytest.raises(OSError, match="gone"):
        file_digest(tmp_path / "gone")


def test_a_short_digest_is_of_the_value_and_takes_every_text():
    assert short_digest({"a": 1, "b": [2]}) == short_digest({"b": [2], "a": 1})
    assert short_digest(["a star"]) != short_digest(["a Star"])
    assert len(short_digest("half of an emoji \ud83d, and café")) == 12
