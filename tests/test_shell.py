"""The program among others: interrupted, cut off, in another locale, on a full disk."""

import json
import os
import subprocess
import sys

import pytest
from checkpoints import write_checkpoint

pytestmark = pytest.mark.slow
CIRCUIT = [sys.executable, "-m", "circuit"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shell")
    write_checkpoint(folder / "model")
    prompts = [{"text": "word " * (i % 40 + 1), "group": f"g{i}"} for i in range(4000)]
    document = {"schema": "circuit.prompts/1", "name": "many", "prompts": prompts}
    (folder / "many.json").write_text(json.dumps(document))
    return folder


def steer(folder, *arguments, **options):
    line = ["steer", "-m", "model", "--positive", "a", "--negative", "b", "-n", "3", *arguments]
    return subprocess.run(
        [*CIRCUIT, *line], cwd=folder, stderr=subprocess.PIPE, check=False, timeout=120, **options
    )


def test_a_reader_that_has_gone_is_no_traceback(folder):
    reading, writing = os.pipe()
    os.close(reading)
    done = steer(folder, "-p", "hi", stdout=writing)
    os.close(writing)
    assert done.returncode == 1
    assert done.stderr.decode().splitlines() == ["Loading model: model"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="Linux has /dev/full")  # noqa: PTH110
def test_a_full_disk_under_stdout_is_said(folder):
    with open("/dev/full", "wb") as full:  # noqa: PTH123
        done = steer(folder, "-p", "hi", stdout=full)
    assert done.returncode == 1
    assert b"error: stdout cannot be written: No space left on device" in done.stderr
    assert b"Traceback" not in done.stderr


def test_an_encoding_without_arrows_is_enough(folder):
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = steer(folder, "-p", "hé", "--compare", "-1,1", stdout=subprocess.PIPE, env=environment)
    assert done.returncode == 0, done.stderr
    assert rb"\u2192 positive" in done.stdout
