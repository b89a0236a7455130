"""One-off questions about a model: one file each, a function with typed results, which a command prints.

For notebooks there are classes over the same functions, imported from here when they are asked for:

    from circuit.introspect import ModelAnalyzer, AnalysisConfig, LayerStrategy
    from circuit.introspect import ModelHooks, CaptureConfig, PositionSelection, LogitLens
    from circuit.introspect import AblationStudy, AblationConfig, ComponentType
"""

import importlib
from typing import Any

_WHERE = {
    "AblationConfig": "study",
    "AblationStudy": "study",
    "AnalysisConfig": "analyze",
    "AnalysisResult": "analyze",
    "CaptureConfig": "model_hooks",
    "ComponentType": "study",
    "LayerPredictionResult": "analyze",
    "LayerStrategy": "choices",
    "LayerTransition": "analyze",
    "LogitLens": "model_hooks",
    "ModelAnalyzer": "model_analyzer",
    "ModelHooks": "model_hooks",
    "PositionSelection": "model_hooks",
    "TokenEvolutionResult": "analyze",
    "TokenPrediction": "analyze",
}
__all__ = list(_WHERE)


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_WHERE[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_WHERE])
