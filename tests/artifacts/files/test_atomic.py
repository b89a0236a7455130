"""Files are replaced in one step or not at all."""

import os
from pathlib import Path

from errors import raises

from circuit.artifacts.files.atomic import write_file
from circuit.errors import ArtifactError


def test_files_are_replaced_in_one_step(tmp_path: Path):
    path = tmp_path / "a.json"
    write_file(path, b"1")
    write_file(path, b"2", force=True)
    assert path.read_bytes() == b"2"
    assert [file.name for file in tmp_path.iterdir()] == ["a.json"]
    assert path.stat().st_mode & 0o777 == 0o666 & ~_umask()


def test_a_folder_is_never_replaced(tmp_path: Path):
    (tmp_path / "a.json").mkdir()
    with raises(ArtifactError, "output-is-folder"):
        write_file(tmp_path / "a.json", b"1", force=True)
    assert [file.name for file in tmp_path.iterdir()] == ["a.json"]


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
