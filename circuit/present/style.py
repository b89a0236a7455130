"""The styles of a document as HTML: every rule is about ``.circuit``, so that nothing leaks.

The same rules serve a page and a notebook. The findings are a table whose first cells open: an open
one shows the row below it, which holds the sentence. On a narrow screen each finding is a card, and
wide tables and figures scroll in boxes of their own. A printed page shows all sentences.
"""

_RULES = """
{ color-scheme: light; box-sizing: border-box; color: #1b1f24; background: #fff;
  font: 1rem/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif;
  overflow-wrap: anywhere; text-align: left; }
h1 { font-size: 1.5rem; line-height: 1.25; margin: .3rem 0 .8rem; font-weight: 650; }
h2 { font-size: 1.2rem; margin: 2.4rem 0 .6rem; padding-top: .5rem; border-top: 1px solid #d8dee4;
  font-weight: 650; }
h3 { font-size: 1rem; margin: 1.5rem 0 .4rem; font-weight: 650; }
h4 { font-size: .9rem; margin: 1.2rem 0 .3rem; font-weight: 650; }
p { margin: .5rem 0; } p.line { margin: .15rem 0; white-space: pre-wrap; }
.small, figcaption, .key { font-size: .85rem; color: #57606a; }
.key svg { margin: 0 .2rem 0 .7rem; } .key svg:first-child { margin-left: 0; }
.warning { border-left: .3rem solid #D55E00; padding: .3rem .8rem; background: #fdf3ec; }
figure { margin: 1rem 0 1.2rem; } figure img { max-width: 100%; height: auto; }
figcaption { margin-top: .3rem; } figcaption details { margin: 0; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .85rem; font-variant-numeric: tabular-nums;
  overflow-wrap: normal; margin: 0; border: 0; }
th, td { padding: .25rem .6rem; border: 0; border-bottom: 1px solid #d8dee4; text-align: right;
  white-space: nowrap; vertical-align: top; background: none; }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
thead th { border-bottom: 1.5px solid #1b1f24; font-weight: 600; }
table.prose { width: 100%; }
table.prose td, table.prose th { text-align: left; white-space: normal; overflow-wrap: anywhere; }
table.prose td:first-child { white-space: nowrap; overflow-wrap: normal; }
details { margin: .6rem 0; } summary { cursor: pointer; } code { font-size: .9em; }
svg { vertical-align: middle; overflow: visible; }
table.findings { width: 100%; }
table.findings th, table.findings td { text-align: left; vertical-align: middle; }
table.findings td.number, table.findings th.number { text-align: right; }
table.findings td.wraps { white-space: normal; min-width: 9rem; width: 30%; }
table.findings tr.group th { border-bottom: 1px solid #d8dee4; padding-top: .9rem; color: #57606a;
  font-weight: 600; white-space: normal; }
table.findings details { margin: 0; } table.findings summary { font-weight: 600; }
table.findings tr.sentence { display: none; }
table.findings tr.sentence td { white-space: normal; padding: .4rem .6rem .7rem 1rem;
  border-left: .2rem solid #d8dee4; background: #f6f8fa; }
table.findings tr.row:has(details[open]) + tr.sentence { display: table-row; }
table.findings tr.row:has(details[open]) td { border-bottom-color: transparent; }
.word { display: inline-block; font-size: .75rem; font-weight: 600; line-height: 1.4;
  padding: .05rem .55rem; border-radius: 1rem; background: #eaeef2; white-space: nowrap; }
.strong .word { background: #0072B2; color: #fff; } .some .word { background: #cfe8f7; }
.none td { color: #57606a; }
"""
_NO_HAS = "{ display: table-row; }"
_NARROW = """
table.findings, table.findings tbody { display: block; }
table.findings thead { display: none; }
table.findings tr.group { display: block; } table.findings tr.group th { display: block; }
table.findings tr.row { display: grid; grid-template-columns: auto 1fr auto;
  border-bottom: 1px solid #d8dee4; padding: .5rem 0; gap: .1rem .7rem; }
table.findings tr.row td { border: 0; padding: 0; min-width: 0; }
table.findings tr.row td:nth-child(1) { grid-column: 1 / 3; }
table.findings tr.row td:nth-child(2) { text-align: right; }
table.findings tr.row td:nth-child(3) { grid-column: 1; }
table.findings tr.row td:nth-child(4) { grid-column: 2; }
table.findings tr.row td:nth-child(5) { grid-column: 1 / -1; grid-row: 3; font-size: .8rem; }
table.findings tr.row td:nth-child(6) { grid-column: 3; grid-row: 2; }
table.findings tr.row td:nth-child(7) { grid-column: 3; grid-row: 3; }
table.findings tr.row td:empty { display: none; }
table.findings tr.row td[data-label]::before { content: attr(data-label) " "; color: #57606a; }
table.findings tr.row:has(details[open]) + tr.sentence { display: block; }
table.findings tr.sentence td { display: block; }
"""


def _scoped(rules: str) -> str:
    """Put ``.circuit`` before every selector."""
    scoped = []
    for rule in filter(None, map(str.strip, rules.replace("\n", " ").split("}"))):
        selectors, body = rule.split("{")
        names = [f".circuit {each.strip()}".rstrip() for each in selectors.split(",")]
        scoped.append(f"{', '.join(names)} {{{body}}}")
    return "\n".join(scoped)


_SENTENCE = ".circuit table.findings tr.sentence"
STYLE = f"""
{_scoped(_RULES)}
@supports not selector(:has(a)) {{ {_SENTENCE} {_NO_HAS} }}
@media (max-width: 44rem) {{
{_scoped(_NARROW)}
}}
@media print {{ {_SENTENCE} {_NO_HAS} }}
"""
PAGE_STYLE = """
body { margin: 0; background: #fff; }
.circuit { margin: 0 auto; max-width: 62rem; padding: 1rem; }
"""
