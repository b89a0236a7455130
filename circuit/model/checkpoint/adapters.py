"""Low-rank adapters: mlx-lm's and PEFT's, attached to a network.

mlx-lm (``adapters.safetensors``) computes ``W x + scale · (x A) B`` with A (in, r) and B (r, out);
PEFT (``adapter_model.safetensors``) stores A (r, in) and B (out, r), and its scale is α/r, or α/√r
with ``use_rslora`` (LoRA 2106.09685, rsLoRA 2312.03732). An adapter is refused unless each of its
tensors finds its place, each pair is complete, and one of them changes what the network computes.
"""

import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NoReturn

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten, tree_unflatten

from circuit.errors import ModelError
from circuit.model.checkpoint.files import Config
from circuit.model.checkpoint.weights import tensors_in
from circuit.values.json_values import parse_json

CONFIG, MLX_FILE, PEFT_FILE = (
    "adapter_config.json",
    "adapters.safetensors",
    "adapter_model.safetensors",
)
Pairs = Mapping[str, tuple[mx.array, mx.array]]  # A (in, r) and B (r, out) by module


def attach_adapter(network: nn.Module, folder: Path) -> nn.Module:
    """Return the network with the adapter of a folder; raise ``ModelError`` if it has no effect."""
    config = _config(folder)
    if (folder / PEFT_FILE).exists():
        _attach_peft(network, folder, config)
    elif (folder / MLX_FILE).exists():
        network = _attach_mlx(network, folder, config)
    else:
        raise ModelError(
            "adapter-missing",
            f"`{folder}` has neither `{MLX_FILE}` nor `{PEFT_FILE}`",
            hint="--adapter takes a folder that mlx_lm.lora or PEFT wrote, with safetensors",
            folder=str(folder),
        )
    network.eval()
    return network


def _config(folder: Path) -> Config:
    path = folder / CONFIG
    if not path.exists():
        raise ModelError(
            "adapter-missing",
            f"`{folder}` has no LoRA adapter (`{CONFIG}`)",
            hint="--adapter takes a folder that mlx_lm.lora or PEFT wrote",
            folder=str(folder),
        )
    try:
        config = parse_json(path.read_bytes())
    except ValueError as error:
        raise ModelError(
            "not-json", f"`{path}` is not JSON: {error}", hint="save the adapter again"
        ) from error
    if not isinstance(config, dict):
        raise _unsupported(path, "an object with settings")
    return config


def _unsupported(path: Path, wanted: str, hint: str = "save or convert the adapter") -> ModelError:
    return ModelError(
        "adapter-unsupported", f"`{path}` is not supported: it needs {wanted}", hint=hint
    )


def _number(config: Config, key: str, path: Path, *, hint: str = "") -> float:
    value = config.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise _unsupported(path, f"`{key}` as a number", hint or "save or convert the adapter")
    return float(value)


def _attach_mlx(network: nn.Module, folder: Path, config: Config) -> nn.Module:
    from mlx_lm.tuner.utils import load_adapters

    path, stored = folder / CONFIG, tensors_in(folder / MLX_FILE)
    if config.get("fine_tune_type", "lora") == "full":
        base = dict(tree_flatten(network.parameters()))
        changed = any(n in base and not mx.array_equal(base[n], stored[n]) for n in stored)
        loaded = load_adapters(network, str(folder))
        if not changed:
            _refuse(folder, "its tensors equal the model's")
        return loaded
    _number(config, "num_layers", path)
    parameters = config.get("lora_parameters")
    if not isinstance(parameters, dict):
        raise _unsupported(path, "`lora_parameters` with rank and scale")
    _number(parameters, "rank", path)
    scale = _number(parameters, "scale", path, hint="mlx-lm's scale is PEFT's alpha / rank")
    _number(parameters, "dropout", path)
    _check_names(folder, stored)
    network = load_adapters(network, str(folder))
    built = [n for n, m in network.named_modules() if "lora_b" in m]
    for name in built:
        for part in ("lora_a", "lora_b"):
            if f"{name}.{part}" not in stored:
                raise _incomplete(folder, f"{name}.{part}")
    if config.get("fine_tune_type") != "dora":
        _check_effect(folder, {n: (stored[f"{n}.lora_a"], stored[f"{n}.lora_b"]) for n in built})
        if scale == 0:
            _refuse(folder, "its scale is 0")
    return network


def _check_names(folder: Path, stored: Iterable[str]) -> None:
    for name in stored:
        if name.rpartition(".")[2] not in {"lora_a", "lora_b", "m"}:
            raise _stray(folder, name)


def _stray(folder: Path, name: str) -> ModelError:
    return ModelError(
        "adapter-tensor-unknown",
        f"tensor `{name}` of adapter `{folder}` has no place in the model",
        hint="use an adapter of low-rank pairs that was trained on this model",
        tensor=name,
    )


def _incomplete(folder: Path, name: str) -> ModelError:
    return ModelError(
        "adapter-incomplete",
        f"adapter `{folder}` lacks tensor `{name}`",
        hint="save the adapter again",
        tensor=name,
    )


def _refuse(folder: Path, reason: str) -> NoReturn:
    raise ModelError(
        "adapter-without-effect",
        f"adapter `{folder}` changes nothing: {reason}",
        hint="give a trained adapter, or leave out --adapter",
        folder=str(folder),
    )


def _check_effect(folder: Path, pairs: Pairs) -> None:
    """Refuse an adapter without pairs, or all of whose pairs have a zero matrix."""
    if not pairs:
        _refuse(folder, "it has no tensors")
    if not any(bool(mx.any(a != 0)) and bool(mx.any(b != 0)) for a, b in pairs.values()):
        _refuse(folder, "each of its pairs has a matrix of zeros")


def _attach_peft(network: nn.Module, folder: Path, config: Config) -> None:
    """Put a low-rank pair beside every map that PEFT's tensors name."""
    from mlx_lm.tuner.lora import LoRALinear

    path = folder / CONFIG
    if config.get("peft_type", "LORA") != "LORA" or config.get("use_dora"):
        raise _unsupported(path, "`peft_type` LORA without `use_dora`")
    alpha = _number(config, "lora_alpha", path)
    pairs = _peft_pairs(folder)
    _check_effect(folder, pairs)
    modules = dict(network.named_modules())
    placed = []
    for name, (a, b) in pairs.items():
        place = next((p for p in (name, f"language_model.{name}") if p in modules), None)
        linear = modules[place] if place is not None else None
        if place is None or not isinstance(linear, nn.Linear | nn.QuantizedLinear):
            raise _stray(folder, name)
        rank = a.shape[1]
        own = _of_pattern(config.get("alpha_pattern"), name, alpha)
        scale = own / (math.sqrt(rank) if config.get("use_rslora") else rank)
        pair = LoRALinear.from_base(linear, r=rank, dropout=0.0, scale=scale)
        if (pair.lora_a.shape, pair.lora_b.shape) != (a.shape, b.shape):
            raise _stray(folder, f"{name} of {a.shape[0]} × {b.shape[1]}")
        pair.lora_a, pair.lora_b = a, b
        placed.append((place, pair))
    if alpha == 0 and not config.get("alpha_pattern"):
        _refuse(folder, "its `lora_alpha` is 0")
    network.update_modules(tree_unflatten(placed))


_PEFT_NAME = re.compile(r"(?:base_model\.model\.)?(.+)\.lora_([AB])(?:\.\w+)?\.weight")


def _peft_pairs(folder: Path) -> Pairs:
    """Return A and B by module, transposed as mlx-lm has them."""
    parts: dict[str, dict[str, mx.array]] = {}
    for name, array in tensors_in(folder / PEFT_FILE).items():
        found = _PEFT_NAME.fullmatch(name)
        if found is None or array.ndim != 2:
            raise _stray(folder, name)
        parts.setdefault(found[1], {})[found[2]] = array.T
    for module, pair in parts.items():
        for part in "AB":
            if part not in pair:
                raise _incomplete(folder, f"{module}.lora_{part}.weight")
    return {module: (pair["A"], pair["B"]) for module, pair in parts.items()}


def _of_pattern(patterns: object, name: str, default: float) -> float:
    """Return the value of the first pattern that the end of ``name`` matches, as PEFT does."""
    if isinstance(patterns, dict):
        for pattern, value in patterns.items():
            if re.match(rf"(.*\.)?({pattern})$", name):
                return float(value)
    return default
