"""A notebook shows a result as its document: each result knows the command that presents it."""

import importlib
import pkgutil

import pytest

import circuit.introspect
import circuit.stages
from circuit.present.document import Document, Table, Text
from circuit.stages.run import Command, Result, command_of


def results() -> list[type[Result]]:
    """Every class of results that the stages and the questions have."""
    for package in (circuit.stages, circuit.introspect):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            importlib.import_module(module.name)
    found = [Result]
    for each in found:
        found += each.__subclasses__()
    return [each for each in found[1:] if each.__module__.startswith("circuit.")]


@pytest.mark.parametrize("kind", results(), ids=lambda kind: f"{kind.__module__}.{kind.__name__}")
def test_each_result_names_its_command(kind):
    assert isinstance(command_of(object.__new__(kind)), Command)


class Numbers(Result):
    """A result of this test."""

    def __init__(self, document: Document | None):
        self._document = document

    def document(self) -> Document | None:
        return self._document


def test_a_notebook_shows_the_document():
    shown = Numbers(Document("Title", [Text(["<b>"]), Table(header=["a"], rows=[[1]])]))
    html = shown._repr_html_()
    assert "<h1>Title</h1>" in html
    assert "&lt;b&gt;" in html
    assert Numbers(None)._repr_html_() is None
