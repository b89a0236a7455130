"""Pages in tests: the elements of an HTML page or fragment, checked to be closed in order."""

import re
from html.parser import HTMLParser

VOID = {"meta", "img"}


class Page(HTMLParser):
    """Elements of a page, checked to be closed in the order in which they were opened."""

    def __init__(self, text: str):
        super().__init__()
        self.open: list[str] = []
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.text.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        """Return the attributes of every element of one kind."""
        return [attributes for name, attributes in self.found if name == tag]

    @property
    def words(self) -> str:
        """All text, with single spaces."""
        return " ".join(" ".join(self.text).split())


def assert_loads_nothing(text: str) -> None:
    """Check that a page has no script and no address but of pictures inside it."""
    page = Page(text)
    tags = {tag for tag, _ in page.found}
    assert not tags & {"script", "link", "iframe", "object", "form", "a", "base", "embed"}
    attributes = [item for _, each in page.found for item in each.items()]
    loaded = [value for key, value in attributes if key in {"src", "href", "srcset", "action"}]
    assert all(value.startswith("data:image/png;base64,") for value in loaded)
    assert not [key for key, _ in attributes if key.startswith("on")]
    assert not re.search(r"url\(|@import", re.sub(r'"data:image/png;base64,[^"]*"', "", text))
