"""Plans of questions: what every question tells the runner in the same way.

question      one model is asked
comparison    two models are asked in turn; their identities are part of what makes a run equal
asked         the parameters of a run: the options that its result depends on
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, get_args

from circuit.introspect.compare.two_models import LoadingOptions, keys_of
from circuit.stages.options import ModelOptions, OutputOptions
from circuit.stages.run import Draw, Job, Plan, Session
from circuit.values.requests import parameters as options_of

if TYPE_CHECKING:
    from circuit.model.checkpoint.loading import LoadedModel

T = TypeVar("T")
COMPARED_BY_THE_RUNNER = (ModelOptions, LoadingOptions, OutputOptions)


class OutputRequest(Protocol):
    """A request whose result may be kept in a file."""

    @property
    def output(self) -> OutputOptions:
        """Where the result is kept."""


class ModelRequest(OutputRequest, Protocol):
    """A request to one model."""

    @property
    def model(self) -> ModelOptions:
        """Which model is asked."""


def asked(request: object, *, without: Sequence[str] = (), **known: object) -> dict[str, object]:
    """Return the options that a result depends on, by name, and what is ``known`` of them.

    Left out are the options of models and of the output; files, which are inputs or outputs; and
    those in ``without``, which change only what is shown or are replaced by others in ``known``.
    Where the prompt ``format`` is known it replaces the option ``chat``.
    """
    left_out = {*without, *(["chat"] if "format" in known else [])}
    found: dict[str, object] = {}
    for each in options_of(type(request)):
        owner: Any = request
        for name in each.path[:-1]:
            owner = getattr(owner, name)
        is_file = Path in (each.type, *get_args(each.type))
        if not (is_file or each.name in left_out or isinstance(owner, COMPARED_BY_THE_RUNNER)):
            found[each.name] = getattr(owner, each.name)
    return found | known


def question(
    request: ModelRequest,
    result: type[T],
    schema: str,
    *,
    inputs: Sequence[Path],
    parameters: Mapping[str, object],
    answer: "Callable[[LoadedModel, Session], T]",
    of_model: "Callable[[LoadedModel], Mapping[str, object]]" = lambda _: {},
    pictures: Mapping[Path | None, Draw[T]] | None = None,
) -> Plan[T]:
    """Plan a question to one model.

    ``of_model`` are the parameters that are known when the model is loaded, and raises for what
    the model lacks. A picture whose path is None is not drawn.
    """
    return Plan(
        result=result,
        schema=schema,
        model=request.model,
        inputs=inputs,
        output=request.output.output,
        force=request.output.force,
        known=parameters,
        pictures={path: draw for path, draw in (pictures or {}).items() if path is not None},
        begin=lambda model: Job(
            parameters={**parameters, **of_model(model)},
            compute=lambda session: answer(model, session),
        ),
    )


def comparison(
    request: OutputRequest,
    result: type[T],
    schema: str,
    *,
    models: Sequence[ModelOptions],
    inputs: Sequence[Path],
    parameters: Mapping[str, object],
    answer: Callable[[], T],
) -> Plan[T]:
    """Plan a question to two models."""

    def compute(session: Session) -> T:
        session.note(f"Loading models: {', '.join(each.model for each in models)}")
        return answer()

    def begin(_: "LoadedModel") -> Job[T]:
        keys = [] if request.output.output is None else keys_of(models)
        return Job(parameters={**parameters, "keys": keys}, compute=compute)

    return Plan(
        result=result,
        schema=schema,
        inputs=inputs,
        output=request.output.output,
        force=request.output.force,
        known=parameters,
        begin=begin,
    )
