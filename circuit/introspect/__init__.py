"""One-off questions about a model: one file each, a function with typed results, which a command prints.

For notebooks there are classes over the same functions, imported from here when they are asked for:

    from circuit.introspect import ModelAnalyzer, AnalysisConfig, LayerStrategy
    from circuit.introspect import ModelHooks, CaptureConfig, PositionSelection, LogitLens
    from circuit.introspect import AblationStudy, AblationConfig, ComponentType
"""

import importlib
from typing import Any

_WHERE = {
    "AblationConfig": "classes.study",
    "AblationStudy": "classes.study",
    "AnalysisConfig": "questions.analyze",
    "AnalysisResult": "questions.analyze",
    "CaptureConfig": "classes.model_hooks",
    "ComponentType": "classes.study",
    "LayerPredictionResult": "questions.analyze",
    "LayerStrategy": "inputs.choices",
    "LayerTransition": "questions.analyze",
    "LogitLens": "classes.model_hooks",
    "ModelAnalyzer": "classes.model_analyzer",
    "ModelHooks": "classes.model_hooks",
    "PositionSelection": "classes.model_hooks",
    "TokenEvolutionResult": "questions.analyze",
    "TokenPrediction": "questions.analyze",
}
__all__ = list(_WHERE)


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_WHERE[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_WHERE])
