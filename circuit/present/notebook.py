"""A document in a notebook: the elements of the page, with their styles, for ``_repr_html_``."""

from circuit.present.document import Document
from circuit.present.html import STYLE, element, fragments, joined


def notebook(document: Document) -> str:
    """Return the document as an HTML fragment whose styles stay inside it."""
    scoped = STYLE.replace("body {", ".circuit {").replace(":root { color-scheme: light; }", "")
    inner = [element("h1", document.title), *fragments(document.parts)]
    return f"<style>@scope (.circuit-document) {{{scoped}}}</style>" + (
        element("div", joined(inner), class_="circuit circuit-document").text
    )
