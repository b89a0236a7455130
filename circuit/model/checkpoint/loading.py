"""Open a checkpoint: the name ``tiny``, a folder, a GGUF file, or an id on the Hugging Face hub.

``mlx_lm.load`` does the work. Around it: the configuration is brought into the form that every
mlx-lm family reads, weights are held in the dtype that ``runtime.compute_dtype`` chooses, remote
code runs only on request, and errors are one sentence.
"""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten

from circuit.errors import CircuitError, ModelError, UsageError, reason_of
from circuit.model.checkpoint import identity as identify
from circuit.model.checkpoint.adapters import attach_adapter
from circuit.model.checkpoint.blocks import blocks_of, residual_width
from circuit.model.checkpoint.built import (
    Difference,
    differences,
    dropped_tensors,
    read_stored,
    text_config,
    with_head,
)
from circuit.model.checkpoint.chat_date import date_of, use_chat_date
from circuit.model.checkpoint.embedding_scale import use_exact_scale
from circuit.model.checkpoint.families import IGNORE_WINDOW
from circuit.model.checkpoint.files import (
    Config,
    check_files,
    find_folder,
    normalised,
    original_context,
    read_config,
)
from circuit.model.checkpoint.gguf.cache import GgufAbout, about_gguf
from circuit.model.machine import runtime
from circuit.model.machine.silu import use_fast_silu
from circuit.model.machine.softmax import use_fast_softmax
from circuit.values.identity import ModelIdentity, TokenizerIdentity

if TYPE_CHECKING:
    from mlx_lm.tokenizer_utils import TokenizerWrapper


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """A network with its tokenizer and all that identifies it."""

    id: str
    network: nn.Module
    tokenizer: "TokenizerWrapper"
    config: Config
    folder: Path
    requested_revision: str | None
    adapter: Path | None
    dtype: str
    group: mx.distributed.Group | None = None  # the processes that the weights are split over
    differences: tuple[Difference, ...] = ()  # from what the configuration asks for
    dropped: Mapping[str, int] = field(default_factory=dict)  # kinds of tensors left out

    @property
    def n_streams(self) -> int:
        """How many batches run in parallel: one where processes wait for each other."""
        return 1 if self.group is not None else runtime.n_streams()

    @property
    def in_flight(self) -> int:
        """How many batches are in memory: the next start before the last are fetched."""
        return 2 * self.n_streams

    @property
    def blocks(self) -> list[nn.Module]:
        """The transformer blocks, first to last."""
        return blocks_of(self.network)

    @property
    def n_layers(self) -> int:
        """The number of blocks."""
        return len(self.blocks)

    def check_layer(self, layer: int) -> None:
        """Raise ``UsageError`` when the model has no block of this index."""
        if not 0 <= layer < self.n_layers:
            raise UsageError(
                "layer-out-of-range",
                f"layer {layer} is out of range: `{self.id}` has {self.n_layers} layers",
                hint=f"use a layer from 0 to {self.n_layers - 1}",
                layer=layer,
                n_layers=self.n_layers,
            )

    @property
    def family(self) -> str:
        """The ``model_type`` of the checkpoint."""
        return str(self.config["model_type"])

    @cached_property
    def d_model(self) -> int:
        """The width of the residual stream, as the blocks read and return it."""
        return residual_width(self.network)

    @property
    def context_length(self) -> int | None:
        """The longest prompt that runs as the checkpoint was trained, when its config says so.

        Where mlx-lm attends to everything although the checkpoint has a sliding window, that window
        is the limit: a longer prompt would give states that the model never learned. So is the
        original context of LongRoPE.
        """
        text = text_config(self.config)
        limits = [text.get("max_position_embeddings"), text.get("n_positions")]
        limits.append(original_context(text))
        if self.family in IGNORE_WINDOW and text.get("use_sliding_window", True):
            limits.append(text.get("sliding_window"))
        return min((int(limit) for limit in limits if limit is not None), default=None)

    @property
    def gguf(self) -> GgufAbout | None:
        """What was read of the GGUF file that the checkpoint was made of; None without one."""
        return about_gguf(self.folder)

    @cached_property
    def identity(self) -> ModelIdentity:
        """Fingerprints of configuration and weights, for the manifest."""
        return ModelIdentity(
            id=self.id,
            requested_revision=self.requested_revision,
            revision=identify.snapshot_revision(self.folder),
            family=self.family,
            n_layers=self.n_layers,
            d_model=self.d_model,
            dtype=self.dtype,
            quantization=self.config.get("quantization") or self.config.get("gguf"),
            adapter=None if self.adapter is None else self.adapter.name,
            config_sha256=identify.config_digest(self.config),
            weights_sha256=identify.weights_digest(self.folder, self.adapter),
            differences=tuple(one.sentence() for one in self.differences) or None,
        )

    @cached_property
    def tokenizer_identity(self) -> TokenizerIdentity:
        """Fingerprints of the tokenizer's files, for the manifest."""
        template = self.tokenizer.chat_template
        encoded = self.tokenizer.encode("a")
        bos = self.tokenizer.bos_token_id
        return TokenizerIdentity(
            files_sha256=identify.tokenizer_digest(self.folder),
            chat_template_sha256=None if template is None else identify.config_digest(template),
            chat_date=date_of(template),
            bos="tokenizer" if bos is not None and encoded[:1] == [bos] else "none",
        )


@dataclass(frozen=True)
class Shape:
    """What a vector must fit: ``model_type``, number of blocks, width of the residual stream."""

    family: str
    n_layers: int
    d_model: int


def shape_of(model_id: str, *, revision: str | None = None) -> Shape:
    """Return the shape of a checkpoint; no weight is read."""
    from mlx_lm.utils import load_model as build

    folder = find_folder(model_id, revision)
    config = read_config(folder)
    with _explained(model_id):
        network, _ = build(folder, lazy=True, model_config=normalised(config))
        return Shape(str(config["model_type"]), len(blocks_of(network)), residual_width(network))


def load_model(
    model_id: str,
    *,
    revision: str | None = None,
    adapter: Path | None = None,
    dtype: str = "auto",
    trust_remote_code: bool = False,
    tensor_parallel: bool = False,
    weights: bool = True,
) -> LoadedModel:
    """Load a model and its tokenizer; ``tensor_parallel`` splits it over the launched processes.

    Without ``weights`` these stay on the disk until they are used: enough to identify the model.

    Raises ``ModelError`` when it cannot be found, read, or run by mlx-lm.
    """
    import mlx_lm

    group = _group() if tensor_parallel else None
    folder = find_folder(model_id, revision)
    config = read_config(folder)
    check_files(folder)
    use_fast_silu()
    use_fast_softmax()
    use_chat_date()
    with _explained(model_id):
        stored = read_stored(folder)
        network, tokenizer, config = mlx_lm.load(
            str(folder),
            model_config=with_head(normalised(config), stored),
            tokenizer_config={"trust_remote_code": trust_remote_code},
            trust_remote_code=trust_remote_code,
            lazy=True,
            return_config=True,
        )
        use_exact_scale(network)
        if adapter is not None:
            network = attach_adapter(network, adapter)
        dropped = dropped_tensors(stored, config)
        held = _hold(network, dtype, group)
        different = differences(network, config)
        if weights:
            mx.eval(network.parameters())
        runtime.share_out_threads(residual_width(network))
    return LoadedModel(
        model_id,
        network,
        tokenizer,
        config,
        folder,
        revision,
        adapter,
        held,
        group,
        differences=different,
        dropped=dropped,
    )


def _group() -> mx.distributed.Group:
    from circuit.model.machine.launch import launched_group

    group = launched_group()
    if group is None:
        raise UsageError(
            "one-process",
            "`--tensor-parallel` splits a model over several processes, but there is only one",
            hint="start it with mlx.launch -n N -- circuit …",
        )
    return group


def _hold(network: nn.Module, requested: str, group: mx.distributed.Group | None) -> str:
    """Convert the weights to the requested dtype, leave them unread, and return its name.

    With a ``group`` each process reads its own part: mlx-lm's ``shard``.
    """
    from mlx_lm.utils import dequantize_model

    checkpoint = checkpoint_dtype(network)
    wanted = runtime.compute_dtype(requested, checkpoint)
    if wanted != checkpoint:
        network.set_dtype(getattr(mx, wanted))
    if requested != "checkpoint" and wanted == "float32" and runtime.device() == "cpu":
        # After set_dtype, so that scales are widened first and weights are exact in float32.
        dequantize_model(network)
        network.set_dtype(mx.float32)
    if group is not None:
        if not hasattr(network, "shard"):
            raise ModelError(
                "family-not-splittable",
                "mlx-lm cannot split this family over processes",
                hint="leave out --tensor-parallel",
            )
        network.shard(group)
    return wanted


def checkpoint_dtype(network: nn.Module) -> str:
    """Return the dtype that most of the checkpoint's floating-point numbers are kept in."""
    sizes: dict[str, int] = {}
    for _, array in tree_flatten(network.parameters()):
        if mx.issubdtype(array.dtype, mx.floating):
            name = str(array.dtype).removeprefix("mlx.core.")
            sizes[name] = sizes.get(name, 0) + array.size
    return max(sizes, key=lambda name: sizes[name])


@contextmanager
def _explained(model_id: str) -> Iterator[None]:
    """Turn errors of mlx-lm and transformers about a bad checkpoint into one sentence.

    A checkpoint is foreign input, so whatever its loading raises is about the checkpoint. mlx-lm's
    ``olmo`` prints to stdout and exits the program when a package is missing.
    """
    try:
        with redirect_stdout(sys.stderr):
            yield
    except UsageError:
        raise
    except CircuitError as problem:
        raise problem.within(f"model `{model_id}`") from problem
    except SystemExit as stop:
        raise ModelError(
            "package-missing",
            f"model `{model_id}` cannot be loaded: mlx-lm lacks a package that it needs",
            hint="install the package named above",
            model=model_id,
        ) from stop
    except Exception as error:
        reason = reason_of(error)
        raise ModelError(
            "load-failed",
            f"model `{model_id}` cannot be loaded: {reason}",
            hint="check that the folder is complete and that this mlx-lm supports its model_type",
            model=model_id,
        ) from error
