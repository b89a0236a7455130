"""Plans of questions: what every question tells the runner in the same way.

question      one model is asked
comparison    two models are asked in turn; their identities are part of what makes a run equal
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

from circuit.introspect.compare.two_models import keys_of
from circuit.stages.options import ModelOptions, OutputOptions
from circuit.stages.run import Draw, Job, Plan, Session

if TYPE_CHECKING:
    from circuit.model.checkpoint.loading import LoadedModel

T = TypeVar("T")


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


def question(
    request: ModelRequest,
    result: type[T],
    schema: str,
    *,
    inputs: Sequence[Path],
    parameters: Mapping[str, object],
    answer: "Callable[[LoadedModel], T]",
    pictures: Mapping[Path, Draw[T]] | None = None,
) -> Plan[T]:
    """Plan a question to one model whose parameters are known before it is loaded."""
    return Plan(
        result=result,
        schema=schema,
        model=request.model,
        inputs=inputs,
        output=request.output.output,
        force=request.output.force,
        known=parameters,
        pictures=pictures or {},
        begin=lambda model: Job(parameters=parameters, compute=lambda _: answer(model)),
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
