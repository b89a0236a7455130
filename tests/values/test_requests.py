"""Requests: options of groups stand among the request's own, and what is parsed is what was declared."""

from dataclasses import dataclass

import pytest

from circuit.cli.app import COMMANDS, QUESTIONS, STEER, questions, request_at
from circuit.values.requests import argument, assembled, group, option, parameters


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """A group."""

    max_tokens: int = option("--max-tokens", help="Tokens.", default=50)
    seed: int = option("--seed", help="Seed.", default=0)


@dataclass(frozen=True, kw_only=True)
class Request:
    """A request."""

    file: str = argument(help="A file.")
    sampling: Sampling = group(Sampling, max_tokens=20)
    names: tuple[str, ...] = option("--name", help="Names.", default=("a",))


def test_options_of_a_group_stand_among_the_requests_own():
    found = parameters(Request)
    assert [each.name for each in found] == ["file", "max_tokens", "seed", "names"]
    assert [each.required for each in found] == [True, False, False, False]
    assert found[1].path == ("sampling", "max_tokens")


def test_a_request_may_give_a_group_another_default():
    assert parameters(Request)[1].default == 20
    assert Request(file="x").sampling == Sampling(max_tokens=20)


def test_a_request_is_assembled_from_values_by_name():
    values = {"file": "x", "max_tokens": 3, "seed": 1, "names": ("b",)}
    assert assembled(Request, values) == Request(
        file="x", sampling=Sampling(max_tokens=3, seed=1), names=("b",)
    )


def places():
    tables = [*COMMANDS.values(), STEER, questions()]
    for table in tables:
        yield from [table] if isinstance(table, str) else table.values()


@pytest.mark.parametrize("place", sorted({p for p in places() if isinstance(p, str)}))
def test_every_request_declares_each_option_once(place):
    request = request_at(place)
    assert request is not None, place
    names = [each.name for each in parameters(request)]
    spellings = [name for each in parameters(request) for name in each.option.names]
    assert len(names) == len(set(names))
    assert len(spellings) == len(set(spellings))
    assert request.__doc__
    assert QUESTIONS in place or hasattr(request, "COMMAND")
