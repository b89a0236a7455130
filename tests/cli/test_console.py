"""Progress without a terminal is a line a minute, and none where the work is short."""

import time

from circuit.cli import console


def test_a_long_item_is_said_again_and_again(monkeypatch, capsys):
    monkeypatch.setattr(console, "EVERY", 0.05)
    for item in console.track(range(2), "Layers", 2):
        time.sleep(0.3 * item + 0.01)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) >= 3
    assert all(line.startswith("Layers: 1 of 2 after ") for line in lines)
    time.sleep(0.2)
    assert capsys.readouterr().err == ""


def test_short_work_says_nothing(capsys):
    assert list(console.track(iter("abc"), "Letters")) == ["a", "b", "c"]
    assert capsys.readouterr().err == ""


def test_progress_ends_with_an_error(monkeypatch, capsys):
    monkeypatch.setattr(console, "EVERY", 0.02)
    tracked = console.track(range(3), "Layers", 3)
    next(tracked)
    tracked.close()
    capsys.readouterr()
    time.sleep(0.1)
    assert capsys.readouterr().err == ""
