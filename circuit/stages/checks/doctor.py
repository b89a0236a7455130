"""What this machine offers, how fast it is, and whether a model is measured as it is."""

import platform
import sys
from dataclasses import asdict
from importlib import metadata
from typing import Any

from circuit.values.version import VERSION

PACKAGES = ("mlx", "mlx-lm", "numpy", "scikit-learn", "umap-learn", "safetensors", "matplotlib")
SLOW = 0.8  # MLX within 20 % of numpy's own speed is as it should be


def examine_machine() -> dict[str, Any]:
    """Return device, BLAS and its measured speed, versions, folders, and advice in words."""
    from circuit.model.machine import runtime

    runtime.require_mlx()
    blas = runtime.prepare()
    device = runtime.device()
    ours, numpys = runtime.matmul_speed()
    return {
        "circuit": VERSION,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "device": device,
        "blas": asdict(blas),
        "float32_gflops": {"mlx": round(ours, 1), "numpy": round(numpys, 1)},
        "weights_dtype": "float32" if device == "cpu" else "the checkpoint's",
        "versions": {name: _version(name) for name in PACKAGES},
        "folders": {"circuit": str(runtime.cache_folder()), "models": runtime.hub_folder()},
        "advice": _advice(device, ours / numpys, blas.problem),
    }


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def _advice(device: str, ratio: float, problem: str) -> list[str]:
    if device != "cpu" or ratio >= SLOW:
        return []
    if sys.platform == "linux" and problem:
        return [f"MLX's matrix products are slow because {problem}: pip install 'circuit[cpu]'"]
    return [f"MLX runs at {ratio:.2f} of numpy's speed: is something else using the processor?"]


def examine_model(model_id: str, *, revision: str | None, dtype: str) -> dict[str, Any]:
    """Load a model and run the self-test of ``circuit.model.forward.selftest`` on it."""
    from circuit.model.checkpoint.loading import load_model
    from circuit.model.forward.selftest import self_test
    from circuit.model.sites.sites import available_sites

    model = load_model(model_id, revision=revision, dtype=dtype)
    checks = self_test(model)
    return {
        "model": asdict(model.identity),
        "chat_template": bool(model.tokenizer.has_chat_template),
        "context_length": model.context_length,
        "sites": available_sites(model),
        "checks": [asdict(check) for check in checks],
        "passed": all(check.passed for check in checks),
    }
