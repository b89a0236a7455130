"""Questions about a model: one file each, with its request, its computation and its document.

For notebooks there are classes over the same functions, imported from here when they are used:

    from circuit.introspect import ModelAnalyzer, AnalysisConfig, LayerStrategy
    from circuit.introspect import ModelHooks, CaptureConfig, PositionSelection, LogitLens
    from circuit.introspect import AblationStudy, AblationConfig, ComponentType
"""

import importlib

_WHERE = {
    "AblationConfig": "classes.study",
    "AblationStudy": "classes.study",
    "AnalysisConfig": "lens.logit_lens",
    "AnalysisResult": "lens.logit_lens",
    "CaptureConfig": "classes.model_hooks",
    "ComponentType": "classes.study",
    "LayerPredictionResult": "lens.logit_lens",
    "LayerStrategy": "inputs.choices",
    "LayerTransition": "lens.logit_lens",
    "LogitLens": "classes.model_hooks",
    "ModelAnalyzer": "classes.model_analyzer",
    "ModelHooks": "classes.model_hooks",
    "PositionSelection": "classes.model_hooks",
    "TokenEvolutionResult": "lens.logit_lens",
    "TokenPrediction": "lens.logit_lens",
}
__all__ = list(_WHERE)


def __getattr__(name: str) -> object:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found: object = getattr(importlib.import_module(f"{__name__}.{_WHERE[name]}"), name)
    return found


def __dir__() -> list[str]:
    return sorted([*globals(), *_WHERE])
