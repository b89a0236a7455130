"""The logit lens from Python: ``ModelAnalyzer``, an asynchronous context manager over ``analyze``.

    async with ModelAnalyzer.from_pretrained("tiny") as analyzer:
        result = await analyzer.analyze("The capital of France is")

The model is loaded and run in a thread of its own, so that the event loop continues meanwhile; one
question is answered after the other. Leaving the context releases the model.
"""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self, TypeVar

import circuit.model  # noqa: F401  # a fast BLAS before MLX is imported
from circuit.errors import UsageError
from circuit.introspect.inputs.model_description import ModelDescription, describe
from circuit.introspect.lens.logit_lens import AnalysisConfig, AnalysisResult, analyze
from circuit.stages.options import ModelOptions
from circuit.values.prompt_format import PromptFormat

if TYPE_CHECKING:
    from circuit.model.checkpoint.loading import LoadedModel

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class ModelInfo(ModelDescription):
    """A model's family, size, and factor on its embeddings (None where that is not one number)."""

    embedding_scale: float | None


class ModelAnalyzer:
    """Reads a model's predictions after each block; made by ``from_pretrained``."""

    def __init__(self, options: ModelOptions, embedding_scale: float | None) -> None:
        self._options, self._scale = options, embedding_scale
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="circuit")
        self._model: LoadedModel | None = None
        self._info: ModelInfo | None = None

    @classmethod
    def from_pretrained(
        cls,
        model_id: str,
        *,
        embedding_scale: float | None = None,
        revision: str | None = None,
        adapter: Path | None = None,
        dtype: str = "auto",
    ) -> Self:
        """Name a model: a hub id, a folder, or ``tiny``. It is loaded when the context is entered.

        ``embedding_scale`` replaces the model's own factor, which is the right one by default.
        """
        options = ModelOptions(model=model_id, revision=revision, adapter=adapter, dtype=dtype)
        return cls(options, embedding_scale)

    async def __aenter__(self) -> Self:
        await self._run(self._load)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._model = None
        self._thread.shutdown()

    async def analyze(
        self, prompt: str, config: AnalysisConfig | None = None, *, chat: bool = False
    ) -> AnalysisResult:
        """Read the lens at the last token of one prompt."""
        return (await self.analyze_all([prompt], config, chat=chat))[0]

    async def analyze_all(
        self, prompts: Sequence[str], config: AnalysisConfig | None = None, *, chat: bool = False
    ) -> list[AnalysisResult]:
        """Read the lens at the last token of every prompt; they run together."""
        return await self._run(
            lambda: analyze(
                _loaded(self._model),
                prompts,
                config or AnalysisConfig(),
                form=PromptFormat(chat=chat),
                embedding_scale=self._scale,
            )
        )

    @property
    def model_info(self) -> ModelInfo:
        """Describe the model."""
        return _loaded(self._info)

    config = model_info

    def _load(self) -> None:
        from circuit.model.interventions.embedding import embedding_scale

        self._model = self._options.load()
        own = embedding_scale(self._model) if self._scale is None else self._scale
        self._info = ModelInfo(**vars(describe(self._model)), embedding_scale=own)

    async def _run(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)


def _loaded(value: T | None) -> T:
    """Return what exists once the context is entered."""
    if value is None:
        hint = "use `async with` around the analyzer"
        raise UsageError("model-not-loaded", "the model is not loaded", hint=hint)
    return value
