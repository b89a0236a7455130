"""A document in a notebook: the elements of the page with their styles, for ``_repr_html_``.

Every style is about ``.circuit``, so that nothing else in the notebook changes.
"""

from circuit.present.document import Document
from circuit.present.html import fragments
from circuit.present.markup import element, joined
from circuit.present.style import STYLE


def notebook(document: Document) -> str:
    """Return the document as an HTML fragment whose styles stay inside it."""
    title = [element("h1", document.title)] if document.title else []
    inner = joined([*title, *fragments(document.parts)])
    return f"<style>{STYLE}</style>{element('div', inner, class_='circuit').text}"
