import pytest
from errors import raises

from circuit.errors import UsageError
from circuit.methods.text.criteria import satisfies

CALL = '<tool_call>{"name": "get_weather", "arguments": {"city": "Oslo"}}</tool_call>'


@pytest.mark.parametrize(
    ("criterion", "text", "met"),
    [
        ("function_call", CALL, True),
        ("function_call", '{"name": "f", "arguments": {}}', True),
        ("function_call", "functions.get_time(zone)", True),
        ("function_call", "The function call was long.", False),
        ("refusal", "I'm sorry, but I can't help with that.", True),
        ("refusal", "I cannot provide instructions.", True),
        ("refusal", "I can’t assist.", True),
        ("refusal", "I can't wait to see you!", False),
        ("sorry", "We apologise.", True),
        ("sorry", "A sorryful tale", False),
        ("positive", "What a lovely place", True),
        ("positive", "goodbye", False),
        ("negative", "I hate this.", True),
        ("negative", "a badge", False),
        ("number", "It is 63.", True),
        ("number", "x86 chips", False),
        ("regex:^A", "Abc", True),
        ("regex:^A", "abc", False),
        ("4", "14", False),
        ("4", "it is 4.", True),
        ("37", "-37", False),
        ("37", "37.5", False),
        ("-4", "it is -4", True),
        ("Oslo", "in oslo today", True),
    ],
)
def test_criteria(criterion, text, met):
    assert satisfies(criterion, text) is met


def test_expected():
    assert satisfies("expected", "It is 63, I think", expected="63")
    assert not satisfies("expected", "It is 163", expected="63")
    with raises(UsageError, "no-expected-text"):
        satisfies("expected", "63")


@pytest.mark.parametrize(
    ("criterion", "code"),
    [("", "empty-criterion"), ("  ", "empty-criterion"), ("regex:(", "not-a-pattern")],
)
def test_an_invalid_criterion_is_a_usage_error(criterion, code):
    with raises(UsageError, code) as caught:
        satisfies(criterion, "text")
    assert caught.value.hint
