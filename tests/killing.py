"""Collections that are killed: many small batches of a small model, and SIGKILL at random moments."""

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from checkpoints import write_checkpoint

from circuit.artifacts.prompts.prompts import PromptSet

WORDS = ("red", "green", "blue", "yellow", "black", "white", "brown", "grey")


def write_killable(folder: Path, n: int = 400) -> Path:
    """Write a checkpoint ``model`` and a set of ``n`` prompts; return the folder."""
    write_checkpoint(folder / "model")
    prompts = [
        {"text": f"{i} " + " ".join(WORDS[: 1 + i % 8]), "label": "ab"[i % 2], "group": f"g{i}"}
        for i in range(n)
    ]
    document = {"name": "many", "labels": ["a", "b"], "prompts": prompts}
    PromptSet.model_validate(document).save(folder / "prompts.json")
    return folder


def command(out: Path, *more: str) -> list[str]:
    """Return the command that collects ``write_killable``'s prompts in batches of 64 tokens."""
    return [
        *(sys.executable, "-m", "circuit", "collect", "-m", "model", "-d", "prompts.json"),
        *("-o", str(out), "--batch-tokens", "64", "--positions", "last,-3:", *more),
    ]


def kill_and_go_on(folder: Path, out: Path, kills: int, *, seed: int = 0) -> int:
    """Kill the command until it has been killed ``kills`` times or is done, then let it end.

    Each kill comes at a random moment after the run went on writing. Returns how many there were.
    """
    rng = random.Random(seed)
    journal = Path(f"{out}.safetensors.journal")
    for done in range(kills):
        before = journal.stat().st_size if journal.exists() else 0
        process = subprocess.Popen(command(out), cwd=folder, stdout=subprocess.DEVNULL)
        while process.poll() is None and (
            not journal.exists() or journal.stat().st_size <= before + 200
        ):
            time.sleep(0.002)
        time.sleep(rng.random() * 0.02)
        process.send_signal(signal.SIGKILL)
        if process.wait() == 0:
            return done
    subprocess.run(command(out), cwd=folder, check=True, capture_output=True)
    return kills
