"""The sentences of errors: each has a code, a code stands for one fault, and the list of all is the one that was read."""

import re

import sentences


def test_every_error_has_a_code():
    without = [each.place for each in sentences.sentences() if not each.code]
    assert without == []


def test_codes_are_words_with_hyphens():
    """A code in braces is that of another error, which is raised again with its place."""
    found = {code for each in sentences.sentences() for code in each.code.split(" / ")}
    named = [re.sub(r"\{\w+(\.code)?\}", "x", code) for code in found]
    assert [code for code in named if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", code)] == []


def test_a_sentence_has_no_full_stop_and_every_error_a_hint():
    """Faults of arrays, which a stage reports with its own hint, need none."""
    for each in sentences.sentences():
        assert not each.message.endswith("."), each.place
        assert each.hint or "/methods/" in each.place or each.error == "StoppedError", each.place


def test_the_list_of_sentences_is_current():
    """Run ``python -m tests.sentences`` and read what has changed."""
    assert sentences.GOLDEN.read_text() == sentences.golden()
