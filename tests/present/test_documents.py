"""Documents: their parts, and how each number in them is written."""

import math

import pytest

from circuit.present.document import (
    Document,
    Estimate,
    Figure,
    Finding,
    Notice,
    Number,
    Section,
    Share,
    Table,
    Text,
)
from circuit.present.numbers import (
    byte_size,
    counted,
    emergence_sentence,
    few_groups,
    in_groups,
    interval,
    layers_text,
    listed,
    p_text,
    written,
)
from circuit.values.thresholds import MIN_GROUPS


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        (None, "-"),
        (Number(None), "-"),
        (Estimate(None, 0.1, 0.2), "-"),
        (Estimate.of(None), "-"),
        (3, "3"),
        ("a", "a"),
        (Number(1 / 3), "0.333"),
        (Number(-0.0004), "0.000"),
        (Number(-0.0004, "+.2f"), "+0.00"),
        (Number(0.125, ".0%"), "12%"),
        (Number(1234.5, ">8.1f"), "  1234.5"),
        (Number(math.inf), "inf"),
        (Number(3, "d"), "3"),
        (Share(0.25), "0.250"),
        (Estimate(0.9344, 0.88, 0.97), "0.93 [0.88, 0.97]"),
        (Estimate(0.9, 0.8, 1.0, ".1f", marked=True), "0.9 [0.8, 1.0]*"),
        (Estimate(0.9), "0.90"),
        (Estimate(0.9, marked=True), "0.90*"),
        (Estimate(0.9, 0.8, None), "0.90"),
        (Estimate(-0.001, -0.004, 0.1), "0.00 [0.00, 0.10]"),
    ],
)
def test_a_cell_is_written_in_one_way(cell, text):
    assert written(cell) == text


def test_words_around_numbers():
    assert interval([0.5, 0.4, 0.6]) == "0.50 [0.40, 0.60]"
    assert (p_text(None), p_text(0.0312)) == ("-", "0.031")
    assert (counted(1, "probe"), counted(2, "probe")) == ("1 probe", "2 probes")
    assert in_groups(40, 20) == "n = 40 in 20 groups"
    assert (in_groups(1, 1), in_groups(4, None)) == ("n = 1 in 1 group", "n = 4")
    assert listed(["a"]) == "a"
    assert listed(["a", "b", "c"]) == "a, b and c"
    assert [byte_size(n) for n in (0, 999, 1000, 2.5e9, 3e12)] == [
        "0 bytes",
        "999 bytes",
        "1.0 kB",
        "2.5 GB",
        "3.0 TB",
    ]
    assert (layers_text([1, 1]), layers_text([0, None])) == ("L1", "L0 to never")


def test_where_something_emerges_is_said_with_its_uncertainty():
    assert emergence_sentence(None, (None, None), 1.0).endswith("at no layer above all baselines.")
    sure = emergence_sentence(2, (2, 3), 0.0)
    assert sure == "It emerges at L2 (90 % of resamples: L2 to L3)."
    unsure = emergence_sentence(2, (2, None), 0.08)
    assert "L2 to never; in 8 % of them nothing emerges" in unsure


def test_few_groups_are_called_an_example():
    assert few_groups(MIN_GROUPS) == []
    (few,) = few_groups(1)
    assert few.text.startswith("1 independent prompt: an example")


def test_parts_are_gathered_from_sections_and_left_out():
    finding = Finding(subject="a", verdict="b", strength=0, sentence="c")
    figure = Figure(name="f", png=lambda: b"", caption="")
    inner = Section("inner", [figure, Notice("n")])
    document = Document("title", [Section("outer", [inner, finding]), Text(["t"])])
    assert document.findings() == [finding]
    assert document.figures() == [figure]
    assert document.every(Notice) == [Notice("n")]
    left = document.without(Figure, Notice, Text)
    assert left.parts == [Section("outer", [finding])]
    assert not Document("", [Table(header=[], rows=[])]).findings()


def test_a_table_has_a_row_for_each_item_and_a_column_for_each_name():
    columns = {"n": lambda n: n, "half": lambda n: Number(n / 2, ".1f")}
    table = Table.of([1, 2], columns, title="Halves", note="exact", prose=True)
    rows = [[1, Number(0.5, ".1f")], [2, Number(1.0, ".1f")]]
    assert table == Table(header=["n", "half"], rows=rows, title="Halves", note="exact", prose=True)
    assert Table.of([], columns).rows == []


def test_an_estimate_has_the_ends_of_its_interval_where_there_is_one():
    assert Estimate.within(0.5, (0.25, 0.75), ".3f") == Estimate(0.5, 0.25, 0.75, ".3f")
    assert Estimate.within(0.5, None) == Estimate(0.5)
