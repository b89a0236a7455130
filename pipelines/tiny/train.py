"""Train the embedded model `tiny` from generated text and write its checkpoint.

    python pipelines/tiny/train.py --out circuit/assets/tiny

A Llama of 6 blocks of width 160 with tied embeddings. Each step sums the mean losses of four streams
(chat, arithmetic, sentiment, mood), each in a batch of its own length. The learning rates rise over the
first steps and fall to 0 along a cosine. Float32 throughout; the checkpoint is float16.

The streams are shared out between two processes (chat | the rest), which exchange gradients through
`mlx.distributed`: element-wise functions use one core in MLX, so one process would leave a core idle.

`--work` keeps the tokenizer and the state of an unfinished training; `--resume` goes on from them and reads the batches that
an uninterrupted training would have read.
"""

import argparse
import json
import math
import os
import platform
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

# One BLAS thread each: the two processes are the parallelism, and more threads than cores spin.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import circuit.model  # noqa: F401, I001  a fast BLAS, before MLX

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from mlx.utils import tree_flatten, tree_unflatten
from mlx_lm.models.llama import Model, ModelArgs
from tokenizers import Tokenizer

from batches import Batch, Stream
from evaluate import measure, table, write_card
from examples import documents
from markup import BOS, END
from muon import Optimizer
from vocabulary import train_tokenizer, write_tokenizer

# rows a step, weight of the mean loss, rank of the process that computes it
STREAMS = {
    "chat": (32, 1.0, 0),
    "arithmetic": (24, 1.0, 1),
    "sentiment": (4, 0.4, 1),
    "mood": (6, 0.6, 1),
    "copy": (32, 1.0, 1),
}
RANKS = 2
SEED = 20
DOCUMENTS = 30_000
MUON_RATE, ADAM_RATE = 0.02, 4e-3
WARM_UP, SAVE_EVERY, SHOW_EVERY = 60, 250, 20


@dataclass
class Training:
    """Everything that a step changes."""

    model: Model
    optimizer: Optimizer
    streams: list[Stream]
    group: mx.distributed.Group
    step: int = 0
    seconds: float = 0.0
    tokens: int = 0


def config(tokenizer: Tokenizer) -> dict:
    """Return the checkpoint's config.json."""
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": 160,
        "intermediate_size": 448,
        "num_hidden_layers": 6,
        "num_attention_heads": 5,
        "num_key_value_heads": 5,
        "head_dim": 32,
        "hidden_act": "silu",
        "max_position_embeddings": 512,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "tie_word_embeddings": True,
        "attention_bias": False,
        "mlp_bias": False,
        "vocab_size": tokenizer.get_vocab_size(),
        "bos_token_id": tokenizer.token_to_id(BOS),
        "eos_token_id": tokenizer.token_to_id(END),
        "torch_dtype": "float16",
    }


def rates(step: int, steps: int) -> tuple[float, float]:
    """Return the learning rates of Muon and AdamW at a step."""
    factor = min(1.0, (step + 1) / WARM_UP) * 0.5 * (1 + math.cos(math.pi * step / steps))
    return MUON_RATE * factor, ADAM_RATE * factor


def stream_loss(model: Model, batch: Batch) -> mx.array:
    """Return the weighted mean loss in nats; logits are made only where there is a loss."""
    hidden = model.model(mx.array(batch.tokens))
    rows = hidden.reshape(-1, hidden.shape[-1])[mx.array(batch.inputs)]
    logits = model.model.embed_tokens.as_linear(rows)
    losses = nn.losses.cross_entropy(logits, mx.array(batch.targets))
    weights = mx.array(batch.weights)
    return (losses * weights).sum() / weights.sum()


def one_step(training: Training, steps: int) -> list[float]:
    """Move the model one step and return the loss of each stream."""
    batches = [stream.batch(training.step) for stream in training.streams]
    own = [i for i, s in enumerate(training.streams) if STREAMS[s.name][2] == training.group.rank()]

    def total(model: Model) -> tuple[mx.array, list[mx.array]]:
        losses = [stream_loss(model, batches[i]) for i in own]
        shares = [STREAMS[training.streams[i].name][1] for i in own]
        return sum(s * x for s, x in zip(shares, losses, strict=True)), losses

    (_, losses), gradients = nn.value_and_grad(training.model, total)(training.model)
    every = [mx.array(0.0)] * len(batches)
    for i, loss in zip(own, losses, strict=True):
        every[i] = loss
    gradients, summed = exchange(gradients, mx.stack(every), training.group)
    muon_rate, adam_rate = rates(training.step, steps)
    training.optimizer.update(training.model, gradients, muon_rate=muon_rate, adam_rate=adam_rate)
    mx.eval(training.model.parameters(), training.optimizer.state)
    training.step += 1
    training.tokens += sum(batch.tokens.size for batch in batches)
    return summed.tolist()


def exchange(
    gradients: dict, losses: mx.array, group: mx.distributed.Group
) -> tuple[dict, mx.array]:
    """Return the sums over the processes of the gradients and of the losses."""
    flat = tree_flatten(gradients)
    joined = mx.concatenate([losses, *(g.reshape(-1) for _, g in flat)])
    # Evaluated first: the exchange then waits for the other process, not for half a graph.
    mx.eval(joined)
    parts = mx.split(
        mx.distributed.all_sum(joined, group=group),
        np.cumsum([losses.size, *(g.size for _, g in flat)]).tolist()[:-1],
    )
    pairs = zip(flat, parts[1:], strict=True)
    return tree_unflatten([(n, part.reshape(g.shape)) for (n, g), part in pairs]), parts[0]


def save_state(training: Training, folder: Path) -> None:
    """Write what `load_state` needs, whole or not at all."""
    arrays = {f"model.{n}": p for n, p in tree_flatten(training.model.parameters())}
    arrays |= {f"optimizer.{n}": a for n, a in training.optimizer.state.items()}
    facts = {name: str(getattr(training, name)) for name in ("step", "seconds", "tokens")}
    mx.save_safetensors(str(folder / "partial.safetensors"), arrays, facts)
    (folder / "partial.safetensors").replace(folder / "state.safetensors")


def load_state(training: Training, folder: Path) -> None:
    """Go back to the last saved step."""
    arrays, facts = mx.load(str(folder / "state.safetensors"), return_metadata=True)
    cut = lambda prefix: {
        n.removeprefix(prefix): a for n, a in arrays.items() if n.startswith(prefix)
    }
    training.model.load_weights(list(cut("model.").items()))
    training.optimizer.load(cut("optimizer."))
    training.step, training.tokens = int(facts["step"]), int(facts["tokens"])
    training.seconds = float(facts["seconds"])


def write_checkpoint(model: Model, tokenizer: Tokenizer, facts: dict, folder: Path) -> None:
    """Write the checkpoint: equal weights give equal bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = {n: p.astype(mx.float16) for n, p in sorted(tree_flatten(model.parameters()))}
    mx.save_safetensors(str(folder / "model.safetensors"), weights, {"format": "mlx"})
    for name, data in (
        ("config.json", config(tokenizer)),
        (
            "generation_config.json",
            {k: config(tokenizer)[k] for k in ("bos_token_id", "eos_token_id")},
        ),
        ("training.json", facts),
    ):
        (folder / name).write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")
    write_tokenizer(tokenizer, folder)


def start(seed: int, tokenizer: Tokenizer) -> Training:
    """Return an untrained model, its optimiser and its streams."""
    mx.random.seed(seed)
    model = Model(ModelArgs.from_dict(config(tokenizer)))
    mx.eval(model.parameters())
    streams = [Stream(name, rows, seed, tokenizer) for name, (rows, *_) in STREAMS.items()]
    group = mx.distributed.init(strict=True, backend="ring")
    return Training(model, Optimizer(model), streams, group)


def facts_of(training: Training, steps: int, seed: int) -> dict:
    """Return what the card says about the training."""
    examples = {name: rows * training.step for name, (rows, *_) in STREAMS.items()}
    return {
        "seed": seed,
        "steps": training.step,
        "steps_planned": steps,
        "tokens": training.tokens,
        "examples": examples,
        "minutes": round(training.seconds / 60, 1),
        "machine": f"{os.cpu_count()} cores ({platform.machine()})",
    }


def train(training: Training, steps: int, work: Path) -> None:
    """Train to the last step, saving the state now and then."""
    recent: list[list[float]] = []
    while training.step < steps:
        began = time.perf_counter()
        recent.append(one_step(training, steps))
        training.seconds += time.perf_counter() - began
        if training.group.rank() > 0:
            continue
        if training.step % SHOW_EVERY == 0:
            means = np.mean(recent, axis=0)
            losses = "  ".join(
                f"{s.name} {x:.3f}" for s, x in zip(training.streams, means, strict=True)
            )
            speed = training.tokens / training.seconds
            print(f"{training.step:5d}/{steps}  {losses}  {speed:.0f} tokens/s", flush=True)
            recent.clear()
        if training.step % SAVE_EVERY == 0 or training.step == steps:
            # Both processes hold the same state; the first writes it.
            save_state(training, work)


def main() -> None:
    """Read the command line and train."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder of the checkpoint")
    parser.add_argument("--work", type=Path, default=Path("build/tiny"), help="unfinished state")
    parser.add_argument("--steps", type=int, default=2600)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--resume", action="store_true", help="go on from the state in --work")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    vocabulary = options.work / "tokenizer.json"
    if "MLX_RANK" not in os.environ:
        if not options.resume:
            train_tokenizer(documents(options.seed, DOCUMENTS)).save(str(vocabulary))
        launch(options.work)
        rows = measure(options.out.resolve())
        write_card(options.out, rows)
        print(table(rows))
        return
    tokenizer = Tokenizer.from_file(str(vocabulary))
    training = start(options.seed, tokenizer)
    if options.resume:
        load_state(training, options.work)
    train(training, options.steps, options.work)
    if training.group.rank() == 0:
        facts = facts_of(training, options.steps, options.seed)
        write_checkpoint(training.model, tokenizer, facts, options.out)


def launch(work: Path) -> None:
    """Run this command once for each rank; stop all of them when one fails."""
    hosts = [[f"127.0.0.1:{free_port()}"] for _ in range(RANKS)]
    (work / "hosts.json").write_text(json.dumps(hosts), encoding="utf-8")
    environment = {**os.environ, "MLX_HOSTFILE": str(work / "hosts.json")}
    processes = [
        subprocess.Popen([sys.executable, *sys.argv], env={**environment, "MLX_RANK": str(rank)})
        for rank in range(RANKS)
    ]
    try:
        while any(process.poll() is None for process in processes):
            if any(process.poll() for process in processes):
                break
            time.sleep(0.5)
    finally:
        for process in processes:
            process.terminate()
    if any(process.wait() for process in processes):
        sys.exit("train: a process failed; --resume goes on from the last saved state")


def free_port() -> int:
    """Return a port that nobody uses."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    main()
