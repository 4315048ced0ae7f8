"""Text files that are new, and whole."""

import pytest

from qtuning import UsageError
from qtuning.io.new_files import write_new


def test_a_text_is_written_as_it_is(tmp_path):
    path = write_new(str(tmp_path / "a.txt"), "ä\n")
    assert path == tmp_path / "a.txt"
    assert path.read_bytes() == "ä\n".encode()
    assert list(tmp_path.iterdir()) == [path]


def test_what_is_there_stays(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("first")
    with pytest.raises(UsageError, match="is there already"):
        write_new(path, "second")
    assert path.read_text() == "first"
    with pytest.raises(UsageError, match="no folder"):
        write_new(tmp_path / "none" / "a.txt", "")


def test_what_cannot_be_written_leaves_nothing(tmp_path):
    with pytest.raises(UsageError, match=r"cannot be written \(File name too long\)"):
        write_new(tmp_path / ("x" * 253), "the name of the hidden file is longer")
    (tmp_path / ".a.txt.tmp").mkdir()
    with pytest.raises(UsageError, match="cannot be written"):
        write_new(tmp_path / "a.txt", "")
    assert [path.name for path in tmp_path.iterdir()] == [".a.txt.tmp"]
