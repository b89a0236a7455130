"""Pages: well formed, closed to everything outside, and safe whatever an artifact holds."""

import re
import struct
import zlib

import pytest
from findings import finding
from pages import Page, assert_loads_nothing

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
from circuit.present.findings import BAR, bar
from circuit.present.html import figure, fragments, page, table
from circuit.present.markup import Html, element, escaped, joined
from circuit.present.notebook import notebook
from circuit.present.style import STYLE

HOSTILE = "'\"><script>alert(1)</script><b onclick=x>&amp;\u202e\x00"


def picture(width: int = 4) -> bytes:
    """A white PNG."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    rows = zlib.compress((b"\x00" + b"\xff" * width) * 2)
    head = struct.pack(">IIBBBBB", width, 2, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        [chunk(b"IHDR", head), chunk(b"IDAT", rows), chunk(b"IEND", b"")]
    )


def everything(text: str) -> Document:
    """A document of every part, each holding ``text``."""
    found = finding(
        text,
        verdict=text,
        sentence=text,
        score=Estimate(0.9, 0.8, 1.0),
        baselines={text: 0.5, "b": None},
        measure=text,
    )
    inner = Section(text, [Section(text, [Text([text]), found])])
    return Document(
        text,
        [
            Text([text]),
            Facts([(text, text), (text, None)]),
            Notice(text),
            found,
            Table(header=[text], rows=[[text], [Share(0.3)]], title=text, note=text),
            Table(header=[text], rows=[[text]], title=text, prose=True, folded=True),
            Figure(name=text, png=picture, caption=text),
            Controls([Control(text, True, text), Control(text, False, text)]),
            inner,
        ],
    )


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("<b> & \"c\" 'd'", "&lt;b&gt; &amp; &quot;c&quot; &#x27;d&#x27;"),
        ("a\x00b\x1b", "a\\x00b\\x1b"),
        ("\ud800", "\\ud800"),
        ("\u202eabc\u200f", "\\u202eabc\\u200f"),
        ("naïve 😀\n", "naïve 😀\n"),
    ],
)
def test_any_text_can_be_shown(text, shown):
    assert escaped(text) == shown
    shown.encode()


def test_a_page_is_well_formed_closed_and_says_so():
    text = page(everything("plain")).decode()
    assert text.startswith("<!DOCTYPE html>")
    found = Page(text)
    assert_loads_nothing(text)
    (policy,) = [each["content"] for each in found.all("meta") if "http-equiv" in each]
    assert policy == "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    headings = [tag for tag, _ in found.found if re.fullmatch("h[1-6]", tag)]
    assert headings == ["h1", "h2", "h2", "h2", "h3"]
    assert page(everything("plain")) == page(everything("plain"))


@pytest.mark.parametrize("render", [lambda d: page(d).decode(), notebook])
def test_hostile_text_stays_text_in_every_part(render):
    text = render(everything(HOSTILE))
    assert_loads_nothing(text)
    found = Page(text)
    assert found.words.count("<script>alert(1)</script>") >= 20
    assert "\x00" not in text
    assert "\u202e" not in text


def test_markup_escapes_strings_and_keeps_html():
    made = element("p", "<", Html("<b>x</b>"), class_='"', data_label="l")
    assert made.text == '<p class="&quot;" data-label="l">&lt;<b>x</b></p>'
    assert joined([Html("a"), Html("b")]).text == "a\nb"


def test_findings_in_a_row_are_one_table_strongest_first():
    several = [finding("weak", strength=0), finding("strong", strength=2), finding("some")]
    text = joined(fragments([*several, Text(["between"]), finding("apart")])).text
    found = Page(text)
    assert [each["class"] for each in found.all("table")] == ["findings", "findings"]
    rows = [each["class"] for each in found.all("tr") if each.get("class", "").startswith("row")]
    assert rows == ["row strong", "row some", "row none", "row some"]
    assert len(found.all("summary")) == 4
    words = found.words
    assert words.index("strong") < words.index("some") < words.index("weak")


def test_a_sentence_stands_in_the_row_below_with_all_baselines():
    known = {"words": 0.61, "embed": 0.4, "random": None}
    one = finding(score=Estimate(0.9, 0.8, 1.0), baselines=known, n=40, n_groups=20, layer=0)
    words = Page(joined(fragments([one])).text).words
    assert "It can be read. Baselines: words 0.61, embed 0.40, random not run." in words
    assert "words 0.61 40 (20) L0" in words
    assert "held-out AUROC, bars from 0 to 1" in words
    empty = Page(joined(fragments([finding()])).text)
    assert not empty.all("svg")
    assert "Baselines" not in empty.words


def positions(text: str) -> list[float]:
    return [float(value) for value in re.findall(r'(?:x1|x2|cx)="([^"]+)"', text)]


@pytest.mark.parametrize(
    "score",
    [
        Estimate(0.9, 0.8, 1.0),
        Estimate(0.9),
        Estimate(0.9, 0.8, None),
        Estimate(-3.0, -4.0, 7.0),
    ],
)
def test_a_bar_stays_in_its_picture(score):
    drawn = bar(finding(score=score, chance=0.5, baselines={"a": 2.0, "b": None, "c": 0.3})).text
    assert drawn.count("<circle") == 1
    assert all(0 <= x <= BAR[0] for x in positions(drawn))


def test_a_bar_is_drawn_to_scale_and_only_of_a_score():
    drawn = bar(finding(score=Estimate(0.0), scale=(-1.0, 1.0))).text
    assert f'cx="{BAR[0] / 2}"' in drawn
    assert bar(finding()).text == bar(finding(score=Estimate(None))).text == ""


def test_tables_scroll_fold_and_say_that_they_are_empty():
    wide = table(Table(header=[str(i) for i in range(200)], rows=[list(range(200))])).text
    assert 'class="scroll"' in wide
    folded = table(Table(header=["a"], rows=[], title="T", note="N", folded=True)).text
    assert folded.startswith("<details><summary>T</summary>")
    assert Page(folded).words == "T N a none"
    cells = Page(table(Table(header=["a", "b", "c"], rows=[[None, Number(None), "-"]])).text)
    assert cells.words == "a b c – – -"


def test_a_figure_has_a_description_and_a_wide_one_scrolls():
    narrow = figure(Figure(name="f", png=picture, caption="what <it> shows"))
    (image,) = Page(narrow.text).all("img")
    assert image["alt"] == "what <it> shows"
    assert "column" in narrow.text
    wide = figure(Figure(name="f", png=lambda: picture(2000), caption="c"), caption_folded=True)
    assert "min-width: 900px" in wide.text
    assert "How to read this figure" in wide.text


def test_a_notebook_shows_the_document_and_leaks_no_style():
    text = notebook(everything("plain"))
    assert_loads_nothing(text)
    assert Page(text).all("div")[0]["class"] == "circuit"
    rules = re.sub(r"@(media|supports)[^{]*\{", "", STYLE)
    selectors = [each for rule in re.findall(r"([^{}]+)\{", rules) for each in rule.split(",")]
    assert len(selectors) > 40
    assert all(each.strip().startswith(".circuit") for each in selectors)
    assert not re.search(r"\b(html|body|:root)\b", STYLE)
