"""The other side of ``collect.py``: a program that reads prompts from stdin and runs them whenever it is asked.

    python tests/bench/others.py transformers | lens FOLDER

First line: token ids of all prompts, as JSON. Each further line is one run. Every line is answered by ``done``.
circuit is not imported here.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import torch

BATCH = 32
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def main() -> None:
    program, folder = sys.argv[1], Path(sys.argv[2])
    prompts = json.loads(sys.stdin.readline())
    run = {"transformers": transformers_run, "lens": lens_run}[program](folder, prompts)
    print("done", flush=True)
    for _ in sys.stdin:
        run()
        print("done", flush=True)


def transformers_run(folder: Path, prompts: list[list[int]]) -> Callable[[], None]:
    """``output_hidden_states``, batches of 32 sorted by length, no head; the last tokens are kept."""
    import transformers

    model = transformers.AutoModel.from_pretrained(folder, dtype="auto").to(DEVICE).eval()
    batches = padded(prompts)

    @torch.no_grad()
    def run() -> None:
        for ids, mask in batches:
            states = model(ids, attention_mask=mask, output_hidden_states=True).hidden_states
            keep(states, mask)

    return run


def lens_run(folder: Path, prompts: list[list[int]]) -> Callable[[], None]:
    """TransformerLens 4 on the same checkpoint: ``resid_post`` cached, stopped before the head.

    Pads come after each prompt, so no mask is needed, and it is faster without one.
    """
    from transformer_lens.model_bridge import TransformerBridge

    model = TransformerBridge.boot_transformers(str(folder), device=DEVICE)
    n_layers = model.cfg.n_layers
    batches = padded(prompts)

    @torch.no_grad()
    def run() -> None:
        for ids, mask in batches:
            _, cache = model.run_with_cache(
                ids,
                names_filter=lambda name: name.endswith("hook_resid_post"),
                stop_at_layer=n_layers,
                prepend_bos=False,
            )
            keep([cache["resid_post", layer] for layer in range(n_layers)], mask)

    return run


def keep(states: list[torch.Tensor], mask: torch.Tensor) -> torch.Tensor:
    """Return the last token of each prompt in every state, as float32 in main memory."""
    last, rows = mask.sum(dim=1) - 1, torch.arange(len(mask), device=mask.device)
    return torch.stack([state[rows, last] for state in states]).float().cpu()


def padded(prompts: list[list[int]]) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Return token ids and mask of each batch, padded on the right."""
    ordered = sorted(prompts, key=len)
    batches = []
    for start in range(0, len(ordered), BATCH):
        batch = ordered[start : start + BATCH]
        longest = len(batch[-1])
        ids = [each + [0] * (longest - len(each)) for each in batch]
        mask = [[1] * len(each) + [0] * (longest - len(each)) for each in batch]
        batches.append((torch.tensor(ids, device=DEVICE), torch.tensor(mask, device=DEVICE)))
    return batches


if __name__ == "__main__":
    main()
