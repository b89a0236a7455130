"""Two models that are asked the same question, one after the other: one is in memory at a time.

The second may be the first with a LoRA adapter. What remains of a model is what the question
returned, and its tokenizer if the question returned that.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from circuit.errors import UsageError
from circuit.introspect.inputs.model_description import ModelDescription, describe
from circuit.stages.options import DTYPE, REVISION, ModelOptions
from circuit.values.identity import ModelIdentity, TokenizerIdentity
from circuit.values.requests import option

if TYPE_CHECKING:
    from circuit.model.checkpoint.loading import LoadedModel

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class LoadingOptions:
    """In which form two models are loaded; the adapter belongs to the second."""

    dtype: str = option("--dtype", help=DTYPE, default="auto")
    revision: str | None = option("--revision", help=REVISION, default=None)
    adapter: Path | None = option(
        "--adapter", help="Folder of a LoRA adapter, of the second model.", default=None
    )
    trust_remote_code: bool = option(
        "--trust-remote-code", help="Let the checkpoint run its own Python code.", default=False
    )

    def two_models(
        self, first: str, second: str | None, *, name: str
    ) -> tuple[ModelOptions, ModelOptions]:
        """Return the options of both models; without ``second`` it is the first with the adapter.

        ``name`` is the option of the second. Raises ``UsageError`` without a second and an adapter.
        """
        if second is None and self.adapter is None:
            message = f"`{first}` has no second model to be compared with"
            hint = f"name another model with {name}, or an --adapter"
            raise UsageError("no-second-model", message, hint=hint, model=first)
        common = {**vars(self), "adapter": None}
        one = ModelOptions(model=first, **common)
        return one, ModelOptions(**{**common, "adapter": self.adapter}, model=second or first)


@dataclass(frozen=True, kw_only=True)
class ComparedModel(ModelDescription):
    """A model of a comparison, exactly, under the name that is printed."""

    identity: ModelIdentity
    name: str


@dataclass(frozen=True, kw_only=True)
class ModelKey:
    """What a result depends on of a model: the checkpoint, and the tokenizer with its template."""

    model: ModelIdentity
    tokenizer: TokenizerIdentity


def name_of(options: ModelOptions) -> str:
    """Return the name of a model that is printed."""
    return options.model if options.adapter is None else f"{options.model} + {options.adapter.name}"


def compared(model: "LoadedModel", options: ModelOptions) -> ComparedModel:
    """Describe a loaded model of a comparison."""
    return ComparedModel(**vars(describe(model)), identity=model.identity, name=name_of(options))


def ask_each(
    options: Sequence[ModelOptions], question: "Callable[[LoadedModel, ModelOptions], T]"
) -> list[T]:
    """Load each model, ask it, and release it before the next is loaded."""
    from circuit.model.machine.release import release

    answers = []
    for each in options:
        answers.append(question(each.load(), each))
        release()
    return answers


def keys_of(options: Sequence[ModelOptions]) -> list[ModelKey]:
    """Return the keys of models, for the parameters of a run; weights are not read into memory."""
    from circuit.model.machine.release import release

    keys = []
    for each in options:
        model = each.load(weights=False)
        keys.append(ModelKey(model=model.identity, tokenizer=model.tokenizer_identity))
        del model
        release()
    return keys
