"""The request of ``circuit collect``."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from circuit.stages.options import LAYERS, ArchiveOutputOptions, FormatOptions, ModelOptions
from circuit.values.requests import group, option


@dataclass(frozen=True, kw_only=True)
class CollectRequest:
    """Record the activations of every prompt at chosen sites, layers and positions.

    An interrupted run resumes when the same command is given again. Under mlx.launch each process
    collects a part.

    Examples:
      circuit collect -m tiny -d prompts.json -o activations
      circuit collect -m tiny -d prompts.json -o both --sites embed,resid_post --positions last,mean
      circuit collect -m tiny -d prompts.json -o tails --layers 50% --positions -6: --limit 40
      circuit collect -m tiny -d prompts.json -o heads --layers 2 --sites z,attn_pattern --dry-run
      circuit collect -m tiny -d prompts.json -o parts --shard 1/2
      circuit collect -m tiny -d prompts.json -o answered --limit 40 --generate 16
    """

    COMMAND: ClassVar[str] = "circuit.stages.collect.run:COLLECT"

    model: ModelOptions = group(ModelOptions)
    dataset: Path = option("--dataset", "-d", help="Prompt set (JSON).", unnamed=True)
    output: ArchiveOutputOptions = group(ArchiveOutputOptions)
    layers: str = option("--layers", help=LAYERS, default="all")
    sites: str = option(
        "--sites",
        help="resid_post, mlp_out, z, attn_pattern ...; commas. See circuit sites.",
        default="resid_post",
    )
    positions: tuple[str, ...] = option(
        "--positions",
        help="last, last_content, first, mean, all, an index, a slice (-6:), text:Oslo, "
        "re:[0-9]+, role:user; commas, or the option again.",
        default=("last",),
    )
    prompt_format: FormatOptions = group(FormatOptions)
    store: str = option(
        "--store", help="Dtype of the archive: float32, float16 or bfloat16.", default="float32"
    )
    max_length: int | None = option(
        "--max-length",
        help="Shorten prompts to N tokens (BOS is one).",
        default=None,
        minimum=1,
    )
    truncate: str = option(
        "--truncate", help="The side that --max-length cuts: left or right.", default="left"
    )
    limit: int | None = option(
        "--limit", help="Use only N prompts, spread over the set.", default=None
    )
    batch_tokens: int | None = option(
        "--batch-tokens",
        help="Padded tokens in one forward pass.",
        default=None,
        minimum=1,
        shown_default="measured: as many as pay and as fit in memory",
    )
    share_prefix: bool = option(
        "--shared-prefix/--no-shared-prefix",
        help="Run the tokens once with which all prompts begin.",
        default=True,
    )
    shard: str | None = option(
        "--shard", help="Collect only part i/n; the last to finish joins them.", default=None
    )
    tensor_parallel: bool = option(
        "--tensor-parallel",
        help="Under mlx.launch: split the model, not the prompts.",
        default=False,
    )
    generate: int | None = option(
        "--generate",
        help="Also store the model's answer, of up to N tokens.",
        default=None,
        minimum=1,
    )
    criterion: list[str] | None = option(
        "--criterion",
        help="Judge the answers: function_call, refusal, regex:..., a word "
        "(with --generate; may be given again).",
        default=None,
        shown_default="function_call",
    )
    dry_run: bool = option(
        "--dry-run", help="Print what it would cost, and collect nothing.", default=False
    )
