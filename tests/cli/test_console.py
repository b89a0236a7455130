"""Progress where stderr is not a terminal."""

import io

from circuit.cli import console


def test_a_long_iteration_says_how_far_it_is_on_stderr(monkeypatch):
    text = io.StringIO()
    monkeypatch.setattr(console.sys, "stderr", text)
    assert list(console.track(range(3), "Measuring", 3)) == [0, 1, 2]
    assert text.getvalue() == ""
    monkeypatch.setattr(console, "EVERY", 0.0)
    assert list(console.track(range(3), "Measuring", 3)) == [0, 1, 2]
    assert text.getvalue() == "Measuring: 0 of 3\nMeasuring: 1 of 3\nMeasuring: 2 of 3\n"
