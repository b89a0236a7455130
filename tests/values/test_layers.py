import pytest
from errors import raises

from circuit.errors import UsageError
from circuit.values.layers import parse_layers


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("all", list(range(12))),
        ("0", [0]),
        ("0,4,8", [0, 4, 8]),
        ("8,0, 4", [0, 4, 8]),
        ("8-10", [8, 9, 10]),
        ("-1", [11]),
        ("-3--1", [9, 10, 11]),
        ("8--1", [8, 9, 10, 11]),
        ("every:4", [0, 4, 8]),
        ("50%", [6]),
        ("0%,100%", [0, 11]),
        ("0-2,2,-1", [0, 1, 2, 11]),
    ],
)
def test_spellings(text, expected):
    assert parse_layers(text, range(12), 12) == expected


def test_all_and_every_select_from_what_is_available():
    assert parse_layers("all", [0, 4, 8], 12) == [0, 4, 8]
    assert parse_layers("every:2", [0, 4, 8], 12) == [0, 8]


@pytest.mark.parametrize("text", ["x", "", "3-1", "every:0", "1.5", ","])
def test_an_unknown_spelling_is_a_usage_error(text):
    with raises(UsageError, "unknown-layers", layers=text.split(",")[0]) as caught:
        parse_layers(text, range(12), 12)
    assert caught.value.hint


@pytest.mark.parametrize("text", ["12", "-13", "8-12", "101%"])
def test_a_layer_that_the_model_does_not_have_is_a_usage_error(text):
    with raises(UsageError, "layer-out-of-range", layer=text, n_layers=12):
        parse_layers(text, range(12), 12)


def test_a_layer_that_was_not_collected_is_a_usage_error_that_lists_the_others():
    with raises(UsageError, "layer-not-available", layer=5, available=[0, 4, 8]) as caught:
        parse_layers("5", [0, 4, 8], 12)
    assert caught.value.hint == "available: 0, 4, 8"
