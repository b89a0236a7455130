"""Collection against transformers, TransformerLens, the stock MLX wheel, and a bare forward pass.

    python tests/bench/collect.py [--prompts 512] [--model llama-110m | llama-8b] [--only WORD]

A 110M-parameter Llama with random weights, prompts of 12 to 48 random tokens, ``resid_post`` at the last
token of every layer. All are given token ids and leave the head out. What the others lack is left out, and says so.
TransformerLens may be in an environment of its own: ``LENS_PYTHON`` names its interpreter.
"""

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from common import LLAMA_8B, LLAMA_110M, checkpoint, make_prompts, report, seconds

from circuit.model.checkpoint.loading import LoadedModel, load_model
from circuit.model.forward.capture import Plan, capture, plan
from circuit.model.machine import runtime
from circuit.model.prompts.lists import stacked
from circuit.model.prompts.tokens import EncodedPrompt
from circuit.values.sites import Site

PREFIX = 512
Work = Callable[[], object]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--prompts", type=int, default=512)
    parser.add_argument("--model", choices=["llama-110m", "llama-8b"], default="llama-110m")
    parser.add_argument(
        "--folder", type=Path, default=Path(tempfile.gettempdir()) / "circuit-bench"
    )
    parser.add_argument("--only", default="")
    chosen = parser.parse_args()
    big = chosen.model == "llama-8b"
    folder = checkpoint(
        chosen.folder / chosen.model,
        LLAMA_8B if big else LLAMA_110M,
        "bfloat16" if big else "float32",
    )
    model = load_model(str(folder))
    prompts = make_prompts(chosen.prompts)
    if chosen.only == "stock":
        print(
            json.dumps(
                {"seconds": seconds(collection(model, prompts)), "blas": runtime.prepare().name}
            )
        )
        return
    for name, bench in BENCHES.items():
        if chosen.only in name:
            bench(model, prompts)


def against_transformers(model: LoadedModel, prompts: list[EncodedPrompt]) -> None:
    """The target is 1.0 times as fast or more."""
    if importlib.util.find_spec("torch") is None:
        print("transformers: torch is not installed (make test-parity installs it)")
        return
    report(
        "collect / transformers", collection(model, prompts), other("transformers", model, prompts)
    )


def against_transformer_lens(model: LoadedModel, prompts: list[EncodedPrompt]) -> None:
    """The target is 1.0 times as fast or more."""
    python = os.environ.get("LENS_PYTHON", sys.executable)
    looking = (
        "import importlib.util, sys; sys.exit(not importlib.util.find_spec('transformer_lens'))"
    )
    if subprocess.run([python, "-c", looking], check=False).returncode:
        print("TransformerLens: not installed (pip install transformer-lens)")
        return
    theirs = other("lens", model, prompts, python)
    report("collect / TransformerLens", collection(model, prompts), theirs)


def against_bare(model: LoadedModel, prompts: list[EncodedPrompt]) -> None:
    """The target is at most 1.1 of its time."""
    report(
        "collect / bare forward pass (no head)",
        collection(model, prompts),
        bare_run(model, prompts),
    )


def early_exit(model: LoadedModel, prompts: list[EncodedPrompt]) -> None:
    """The target is at most 0.35 of the time."""
    report(
        "layers 0-2 / all layers", collection(model, prompts, layers=3), collection(model, prompts)
    )


def shared_prefix(model: LoadedModel, prompts: list[EncodedPrompt]) -> None:
    """The target is 8 times as fast as transformers without reuse, and rows equal to 1e-5.

    The prompts that run whole are the first ones only, and their time is scaled to all.
    """
    every, some = make_prompts(len(prompts), prefix=PREFIX), len(prompts) // 16
    few = every[:some]
    shared, whole = (rows_of(model, planned(model, few, share_prefix=k)) for k in (True, False))
    error = np.abs(shared - whole).max() / np.abs(whole).max()
    print(f"a prefix of {PREFIX} tokens: relative error of {some} prompts {error:.1e}")
    if importlib.util.find_spec("torch") is not None:
        theirs = other("transformers", model, few)
        name = f"shared prefix, {len(every)} prompts / transformers (time of {some}, scaled)"
        report(name, collection(model, every), theirs, repeats=3, scale=some / len(every))


def against_stock(model: LoadedModel, prompts: list[EncodedPrompt]) -> None:
    """The target on a Linux CPU is 20 times as fast or more."""
    if runtime.prepare().name == "Accelerate" or runtime.device() != "cpu":
        print("the stock wheel's BLAS: no question on this machine")
        return
    n = min(16, len(prompts))
    # MLX is imported before circuit, which then comes too late to give it a faster BLAS.
    first = (
        "import mlx.core, runpy, sys; sys.argv = sys.argv[1:]; "
        "runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    command = [sys.executable, "-c", first, __file__, "--only", "stock", "--prompts", str(n)]
    here = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=here)
    theirs = json.loads(done.stdout.splitlines()[-1])
    few = collection(model, make_prompts(n))
    few()
    ours = min(seconds(few) for _ in range(3))
    print(
        f"collect / the same with {theirs['blas']} BLAS ({n} prompts): {theirs['seconds'] / ours:.0f} "
        f"times as fast; {ours:.2f} s and {theirs['seconds']:.2f} s"
    )


BENCHES = {
    "transformers": against_transformers,
    "prefix": shared_prefix,
    "bare": against_bare,
    "early": early_exit,
    "lens": against_transformer_lens,
    "wheel": against_stock,
}


def planned(
    model: LoadedModel, prompts: list[EncodedPrompt], layers: int | None = None, **options: bool
) -> Plan:
    sites = [Site("resid_post", layer) for layer in range(layers or model.n_layers)]
    return plan(model, prompts, sites=sites, **options)


def collection(
    model: LoadedModel, prompts: list[EncodedPrompt], layers: int | None = None, **options: bool
) -> Work:
    """Return what is measured: from token ids to rows in memory, planning included."""

    def run() -> None:
        for _ in capture(model, planned(model, prompts, layers, **options)):
            pass

    return run


def rows_of(model: LoadedModel, work: Plan) -> np.ndarray:
    rows = np.empty((len(work.sites), len(work.ids), model.d_model), np.float32)
    for batch in capture(model, work):
        for number, site in enumerate(work.sites):
            rows[number, batch.rows] = batch.values[site, "last"]
    return rows


def bare_run(model: LoadedModel, prompts: list[EncodedPrompt]) -> Work:
    """Run the same batches in the same streams through the network, and record nothing."""
    import mlx.core as mx

    batches = planned(model, prompts).batches

    def run() -> None:
        with runtime.streams(model.d_model, model.n_streams) as streams:
            for first in range(0, len(batches), len(streams)):
                outputs = []
                for rows, stream in zip(
                    batches[first : first + len(streams)], streams, strict=False
                ):
                    with mx.stream(stream):
                        outputs.append(
                            model.network.model(mx.array(stacked([prompts[r].ids for r in rows])))
                        )
                mx.eval(outputs)

    return run


def other(
    program: str, model: LoadedModel, prompts: list[EncodedPrompt], python: str = sys.executable
) -> Work:
    """Return the run of another program, in a process of its own: ``others.py``.

    In one process the OpenBLAS that circuit loads takes the place of PyTorch's own, which is faster.
    """
    command = [python, Path(__file__).with_name("others.py"), program, model.folder]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None
    assert process.stdout is not None
    ask, answer = process.stdin, process.stdout

    def say(line: str) -> None:
        ask.write(line + "\n")
        ask.flush()
        if answer.readline() != "done\n":
            sys.exit(f"{program} failed")

    say(json.dumps([prompt.ids.tolist() for prompt in prompts]))
    return lambda: say("run")


if __name__ == "__main__":
    main()
