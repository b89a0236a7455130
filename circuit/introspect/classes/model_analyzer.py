"""The logit lens from Python: ``ModelAnalyzer``, an asynchronous context manager over ``analyze``.

    async with ModelAnalyzer.from_pretrained("tiny") as analyzer:
        result = await analyzer.analyze("The capital of France is")

The model is loaded and run in a thread of its own, so that the event loop goes on meanwhile, and one question is answered after
the other. Leaving the context lets go of the model.
"""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import circuit.model  # noqa: F401  # a fast BLAS before MLX is imported
from circuit.errors import UsageError
from circuit.introspect.questions.analyze import AnalysisConfig, AnalysisResult, analyze, describe
from circuit.stages.legacy import ModelOptions
from circuit.values.prompt_format import PromptFormat


@dataclass(frozen=True)
class ModelInfo:
    """What a model is: its family, its size, and the factor on its embeddings (None where it is not one number)."""

    id: str
    family: str
    n_layers: int
    d_model: int
    vocab_size: int | None
    tied_embeddings: bool
    embedding_scale: float | None


class ModelAnalyzer:
    """Asks a model what it would say after each block; made by ``from_pretrained``."""

    def __init__(self, options: ModelOptions, embedding_scale: float | None) -> None:
        self._options, self._scale = options, embedding_scale
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="circuit")
        self._model: Any = None
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

        ``embedding_scale`` takes the place of the model's own factor, which is right as it is.
        """
        return cls(ModelOptions(model_id, revision, adapter, dtype), embedding_scale)

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
        found: list[AnalysisResult] = await self._run(
            lambda: analyze(
                self._loaded,
                prompts,
                config or AnalysisConfig(),
                form=PromptFormat(chat=chat),
                embedding_scale=self._scale,
            )
        )
        return found

    @property
    def model_info(self) -> ModelInfo:
        """Return what the model is."""
        if self._info is None:
            raise UsageError("the model is not loaded", hint="use `async with` around the analyzer")
        return self._info

    config = model_info

    @property
    def _loaded(self) -> Any:
        if self._model is None:
            raise UsageError("the model is not loaded", hint="use `async with` around the analyzer")
        return self._model

    def _load(self) -> None:
        from circuit.model.interventions.embedding import embedding_scale

        self._model = self._options.load()
        own = embedding_scale(self._model) if self._scale is None else self._scale
        self._info = ModelInfo(**describe(self._model), embedding_scale=own)

    async def _run(self, work: Callable[[], Any]) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)
