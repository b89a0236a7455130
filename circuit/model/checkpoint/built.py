"""Compare what a configuration asks for with the network that mlx-lm built from it.

mlx-lm takes the keys that a family's code names and leaves the others unread, so a setting can
have no effect without an error. What decides hidden states is therefore measured on the network
(rotary embeddings, activation function, scale of the embeddings), and keys that no code reads must
have the value at which they change nothing. A difference above ``LARGEST`` is refused; a smaller
one is a property of mlx-lm's arithmetic, and ``circuit doctor`` and the manifest list it.
"""

import math
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path

import mlx.core as mx
import mlx.nn as nn

from circuit.errors import ModelError
from circuit.model.checkpoint.blocks import blocks_of, residual_width
from circuit.model.checkpoint.families import INERT, NEUTRAL, Family, find_family
from circuit.model.checkpoint.files import Config
from circuit.model.checkpoint.identity import weight_files
from circuit.model.checkpoint.rotary import Rotation, kind_of, measured, requested, settings_of
from circuit.model.checkpoint.taps import Tap, tapped
from circuit.model.checkpoint.weights import tensors_in

EQUAL, LARGEST = 2e-6, 4e-3  # relative; bfloat16 rounds by up to 2e-3
Stored = Mapping[str, mx.array]


@dataclass(frozen=True)
class Difference:
    """A setting that the network does not follow: key, both values, relative size of the effect."""

    setting: str
    requested: str
    built: str
    size: float

    def sentence(self) -> str:
        """Say the difference and its size."""
        values = f"config.json asks for {self.requested}, mlx-lm has {self.built}"
        return f"{self.setting}: {values} (relative difference {self.size:.1e})"


def text_config(config: Config) -> Config:
    """Return the settings of the language model, which a model of several kinds of data nests."""
    nested = config.get("text_config")
    return nested if isinstance(nested, dict) else config


def differences(network: nn.Module, config: Config) -> tuple[Difference, ...]:
    """Return how the network differs from its configuration; raise ``ModelError`` where it must."""
    text = text_config(config)
    found = [
        *_unread(network, text),
        *_rotary(network, text),
        *_activation(network, text),
        *_embedding(network, text),
    ]
    for one in found:
        if one.size > LARGEST:
            raise ModelError(
                "setting-not-applied",
                f"`{one.setting}` in config.json asks for {one.requested}, "
                f"but mlx-lm's `{text.get('model_type')}` has {one.built}",
                hint="use a conversion of this model whose settings mlx-lm applies",
                setting=one.setting,
            )
    return tuple(dict.fromkeys(found))


def unread_settings(network: nn.Module, config: Config) -> list[str]:
    """Return the keys that mlx-lm's code for the family does not name and nothing here checks."""
    text = text_config(config)
    checked = {*INERT, *NEUTRAL, *_fields(network)}
    return sorted(key for key, value in text.items() if key not in checked and value is not None)


def _fields(network: nn.Module) -> set[str]:
    """Return the keys that the records of the family's module hold."""
    inner = getattr(network, "language_model", network)
    module = sys.modules.get(type(inner).__module__)  # none for code of the checkpoint's own
    records = [] if module is None else [r for r in vars(module).values() if is_dataclass(r)]
    return {each.name for record in records for each in fields(record)}


def _unread(network: nn.Module, config: Config) -> Iterator[Difference]:
    read = _fields(network)
    for key, neutral in NEUTRAL.items() if read else ():
        families = neutral.families
        here = not families or config.get("model_type") in families
        unread = key in config and (key not in read or families)
        if here and unread and config[key] not in neutral.values:
            yield Difference(key, repr(config[key]), repr(neutral.values[0]), math.inf)


def _rotary(network: nn.Module, config: Config) -> Iterator[Difference]:
    for layer, block in enumerate(blocks_of(network)):
        for name, module in block.named_modules():
            dims = getattr(module, "dims", None) or getattr(module, "dim", None)
            if not re.search(r"(^|\.)(rope|rotary_emb)$", name) or not isinstance(dims, int):
                continue
            kind, wanted = kind_of(settings_of(config, layer)), requested(config, layer, dims)
            if wanted is None:
                continue
            size = measured(module, dims).error(wanted)
            if size > 1e-4 and _rotate(module, settings_of(config, layer), wanted):
                size = measured(module, dims).error(wanted)
            if size > 1e-4:  # single precision at position 1
                built = f"other frequencies or scales at layer {layer}"
                yield Difference("rope_parameters", f"`{kind}`", built, max(size, 1.0))


def _rotate(module: nn.Module, settings: Config, wanted: Rotation) -> bool:
    """Give MLX's own rotary module the settings that its family's code did not read."""
    if type(module) is not nn.RoPE or kind_of(settings) not in {"default", "linear"}:
        return False
    module.dims, module.base = 2 * wanted.frequencies.size, float(settings["rope_theta"])
    module.scale = float(wanted.frequencies[0])
    return True


def _activation(network: nn.Module, config: Config) -> Iterator[Difference]:
    key = next((k for k in _ACTIVATION_KEYS if isinstance(config.get(k), str)), None)
    family = find_family(str(config.get("model_type")))
    if key is None or family is None or (wanted := _ACTIVATIONS.get(config[key])) is None:
        return
    built = _measured_activation(blocks_of(network)[0], family, residual_width(network))
    if built is None:
        return
    errors = {name: _distance(built, rule(_grid())) for name, rule in _ACTIVATIONS.items()}
    size = _distance(built, wanted(_grid()))
    nearest = min(errors, key=lambda name: errors[name])
    if size > 1e-5:  # single precision
        name = f"`{nearest}`" if errors[nearest] <= 1e-5 else "another function"
        yield Difference(key, f"`{config[key]}`", name, size)


_ACTIVATION_KEYS = ("hidden_activation", "hidden_act", "activation_function")
N_GRID = 97


def _grid() -> mx.array:
    """Return the points at which activations are compared; made anew, for any thread."""
    return mx.linspace(-6.0, 6.0, N_GRID)


def _distance(a: mx.array, b: mx.array) -> float:
    return float(mx.max(mx.abs(a - b)))


def _gelu_tanh(x: mx.array) -> mx.array:
    return 0.5 * x * (1 + mx.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def _silu(x: mx.array) -> mx.array:
    return x * mx.sigmoid(x)


def _gelu(x: mx.array) -> mx.array:
    return 0.5 * x * (1 + mx.erf(x / math.sqrt(2)))


def _relu(x: mx.array) -> mx.array:
    return mx.maximum(x, 0)


_ACTIVATIONS: dict[str, Callable[[mx.array], mx.array]] = {
    "silu": _silu,
    "swish": _silu,
    "gelu": _gelu,
    "gelu_python": _gelu,
    "gelu_pytorch_tanh": _gelu_tanh,
    "gelu_new": _gelu_tanh,
    "gelu_fast": _gelu_tanh,
    "quick_gelu": lambda x: x * mx.sigmoid(1.702 * x),
    "relu": _relu,
    "relu2": lambda x: mx.square(_relu(x)),
    "tanh": mx.tanh,
    "sigmoid": mx.sigmoid,
    "linear": lambda x: x,
}


def _measured_activation(block: nn.Module, family: Family, width: int) -> mx.array | None:
    """Return the activation at ``_grid``; None where the MLP is a mixture or unknown.

    ``width`` is how many numbers the MLP reads. The outputs of the maps before
    it are replaced: the gate by the grid, the other factor by ones.
    """
    mlp = getattr(block, family.mlp, None)
    names = [family.path(f"mlp.{part}", block) for part in ("gate_proj", "up_proj", "down_proj")]
    gate, up, down = (getattr(mlp, str(n).partition(".")[2], None) for n in names)
    if down is None or up is None or mlp is None:
        return None
    seen: list[mx.array] = []

    def gate_and_up(y: mx.array) -> mx.array:
        half = y.shape[-1] // 2
        return mx.concatenate([_filled(half), mx.ones((1, N_GRID, half))], axis=-1)

    def record(x: mx.array) -> mx.array:
        seen.append(x[0, :, 0])
        return x

    if gate is None:
        taps = [Tap(up, after=lambda y: _filled(y.shape[-1]))]
    elif gate is up:
        taps = [Tap(gate, after=gate_and_up)]
    else:
        taps = [Tap(gate, after=lambda y: _filled(y.shape[-1])), Tap(up, after=mx.ones_like)]
    with tapped([*taps, Tap(down, before=record)]):
        mlp(mx.zeros((1, N_GRID, width)))
    return seen[0].astype(mx.float32)


def _filled(width: int) -> mx.array:
    return mx.broadcast_to(_grid()[None, :, None], (1, N_GRID, width))


def _embedding(network: nn.Module, config: Config) -> Iterator[Difference]:
    """Compare the factor between a token's embedding and what the first block reads."""
    scale = _EMBEDDING_SCALES.get(str(config.get("model_type")))
    tables = [m for n, m in network.named_modules() if n.endswith("embed_tokens")]
    if scale is None or len(tables) != 1:
        return
    wanted, seen = scale(config), []

    def record(x: mx.array) -> mx.array:
        seen.append(x[0, 0])
        return x

    taps = [Tap(tables[0], after=record), Tap(blocks_of(network)[0], before=record)]
    with tapped(taps):
        network(mx.zeros((1, 1), dtype=mx.int32))
    row, read = seen
    built = float(mx.sum(row * read) / mx.sum(row * row))
    size = abs(built / wanted - 1)
    if read.dtype == mx.float32 and size > EQUAL:  # both round in bfloat16
        yield Difference("embedding scale", f"{wanted:.6g}", f"{built:.6g}", size)


def _root(config: Config) -> float:
    return math.sqrt(float(config["hidden_size"]))


_EMBEDDING_SCALES: dict[str, Callable[[Config], float]] = {
    **dict.fromkeys(("gemma", "gemma2", "gemma3_text", "gemma4_text"), _root),
    **dict.fromkeys(("granite", "granitemoe"), lambda c: float(c["embedding_multiplier"])),
    "minicpm": lambda c: float(c["scale_emb"]),
}


def dropped_tensors(stored: Stored, config: Config) -> dict[str, int]:
    """Return the kinds of tensors that mlx-lm leaves out, and how many there are of each.

    A kind is a name with its numbers as ``N``. It is left out if the rest gives the same parameters
    without it. Raises ``ModelError`` where that is a head of its own.
    """
    if "model_file" in config:
        return {}
    kept = _parameters(stored, config)
    same = {id(array) for array in kept.values()}
    kinds: dict[str, list[str]] = {}
    for name, array in stored.items():
        if id(array) not in same and not _WITHOUT_EFFECT.search(name):
            kinds.setdefault(re.sub(r"\d+", "N", name), []).append(name)
    left = {k: len(names) for k, names in kinds.items() if _unused(names, stored, config, kept)}
    head = next((kind for kind in left if kind.endswith("lm_head.weight")), None)
    if head is not None and not text_config(config).get("tie_word_embeddings", True):
        raise ModelError(
            "tensor-dropped",
            f"mlx-lm's `{config['model_type']}` has no head of its own, the files hold `{head}`",
            hint="this model cannot be run as its files say",
            tensor=head,
        )
    return {kind: count for kind, count in left.items() if kind != head}


# Buffers that follow from the configuration: rotary frequencies and causal masks.
_WITHOUT_EFFECT = re.compile(r"(inv_freq|(attn|attention)\.(masked_)?bias)$")


def _parameters(stored: Stored, config: Config) -> Stored:
    """Return what a new network of this kind makes of the tensors of the files."""
    from mlx_lm.utils import _get_classes as classes_of

    network_class, arguments = classes_of(config)
    network = network_class(arguments.from_dict(config))
    sanitize = getattr(network, "sanitize", dict)
    kept: Stored = sanitize(dict(stored))
    return kept


def _unused(names: list[str], stored: Stored, config: Config, kept: Stored) -> bool:
    rest = {name: array for name, array in stored.items() if name not in names}
    try:
        found = _parameters(rest, config)
    except (KeyError, ValueError, IndexError):
        return False
    return {n: a.shape for n, a in found.items()} == {n: a.shape for n, a in kept.items()}


def read_stored(folder: Path) -> Stored:
    """Return the tensors of a checkpoint by name, unread until they are evaluated."""
    stored: dict[str, mx.array] = {}
    for file in weight_files(folder):
        stored |= tensors_in(file)
    return stored


def with_head(config: Config, stored: Stored) -> Config:
    """Return ``config`` with the head that the files hold, as transformers reads them.

    A head in the files is used unless the configuration ties it and it equals the embeddings.
    mlx-lm would drop it where the key is absent, because most families tie by default there.
    """
    head = next((name for name in stored if name.endswith("lm_head.weight")), None)
    table = next((name for name in stored if name.endswith("embed_tokens.weight")), None)
    text = text_config(config)
    tied = text.get("tie_word_embeddings", config.get("tie_word_embeddings"))
    if head is None or table is None or tied is False:
        return config
    if tied and mx.array_equal(stored[head], stored[table]):
        return config
    untied = {"tie_word_embeddings": False}
    nested = {} if text is config else {"text_config": {**text, **untied}}
    return {**config, **untied, **nested}
