"""The terminal: text in columns, without figures, in which an artifact can move no cursor."""

from findings import finding

from circuit.present.document import (
    Control,
    Controls,
    Document,
    Estimate,
    Facts,
    Figure,
    Notice,
    Number,
    Section,
    Share,
    Table,
    Text,
)
from circuit.present.terminal import columns, terminal


def test_every_part_is_shown_but_figures():
    def drawn():
        raise AssertionError

    document = Document(
        "Title",
        [
            Facts([("Model", "tiny"), ("Model", "again"), ("n", 3), ("p", None)]),
            Figure(name="f", png=drawn, caption="a figure"),
            Notice("few groups"),
            Section("Outer", [Text(["  indented"]), Section("Inner", [Text(["deep"])])]),
            Controls([Control("seeds", False, "one"), Control("size", True, "enough")]),
        ],
    )
    assert terminal(document).splitlines() == [
        "Title",
        "Model: tiny",
        "Model: again",
        "n: 3",
        "p: -",
        "Note: few groups",
        "",
        "=== Outer ===",
        "  indented",
        "",
        "=== Inner ===",
        "deep",
        "",
        "=== What was controlled ===",
        "  [ ] seeds: one",
        "  [x] size: enough",
    ]


def test_a_table_aligns_numbers_and_sentences():
    numbers = Table(
        title="T",
        header=["layer", "score", "p"],
        rows=[["L0", Estimate(0.5, 0.4, 0.6, marked=True), None], ["L10", Number(2.0), 1]],
        note="a note",
    )
    assert terminal(Document("", [Text(["before"]), numbers])).splitlines() == [
        "before",
        "",
        "=== T ===",
        "layer               score  p",
        "-----  ------------------  -",
        "L0     0.50 [0.40, 0.60]*  -",
        "L10                 2.000  1",
        "a note",
    ]
    assert columns(["a", "b"], [["x", "y z"]], prose=True)[2] == "x  y z"


def test_an_empty_table_says_so_and_a_wide_one_is_not_cut():
    assert columns(["a", "b"], []) == ["a  b", "-  -", "(none)"]
    wide = columns(["a", "b"], [["x" * 300, "y" * 300]])
    assert len(wide[2]) == 602
    assert {len(line) for line in columns(["a"], [["漢字"], ["abcd"], ["é"]])[1:3]} == {4, 2}


def test_no_character_of_an_artifact_acts_on_the_terminal():
    text = terminal(
        Document(
            "a\x1b[2Jb",
            [
                Text(["two\nlines", "x\ry"]),
                Facts([("n\x07", "v\x00")]),
                Table(header=["h\nh"], rows=[["\u202eabc\ttab"]]),
                Notice("\ud800"),
            ],
        )
    )
    for shown in ("a\\x1b[2Jb", "two\nlines", "x\\x0dy", "n\\x07: v\\x00", "h\\x0ah", "\\u202eabc"):
        assert shown in text
    assert "\\ud800" in text
    text.encode()


def test_one_finding_is_a_sentence_and_several_are_a_table():
    one = terminal(Document("", [finding()]))
    assert one == "question: decodable. It can be read."
    several = [
        finding("a", score=Estimate(0.9, 0.8, 1.0), n=40, n_groups=20, layer=3),
        finding("b", baselines={"words": 0.4, "embed": 0.6, "random": None}),
    ]
    lines = terminal(Document("", several)).splitlines()
    assert lines[0].split("  ")[0] == "question"
    assert lines[2].split() == ["a", "decodable", "0.90", "[0.80,", "1.00]", "-", "40", "20", "L3"]
    assert lines[3].split() == ["b", "decodable", "-", "embed", "0.60", "-", "-", "-"]
    assert "It can be read." not in "\n".join(lines)


def test_a_share_is_a_number_with_a_bar():
    lines = columns(["p", "token"], [[Share(0.5), "a"], [Share(1.5), "b"]])
    assert lines[2].startswith("0.500 " + "#" * 10 + " " * 10)
    assert lines[3].startswith("1.500 " + "#" * 20)
