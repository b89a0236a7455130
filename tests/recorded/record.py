"""Record what the command line of a checkout does: ``before.json`` and ``options.json``.

Run in ``tests``: ``python -m recorded.record CHECKOUT [--into FOLDER] [--session NAME]``. Each
command is started as a user starts it, on the embedded model; ``tests/cli/test_recorded.py`` compares
another checkout with the record. A record of all sessions takes ten minutes.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from importlib import metadata
from pathlib import Path
from typing import Any

from recorded.sessions import COMMANDS, RECORD, Recorder, environment, packed

PACKAGES = ("mlx", "numpy", "scipy", "scikit-learn", "safetensors", "transformers")


def machine() -> dict[str, Any]:
    """Return what decides the last bits of a number: processor and versions of libraries."""
    return {
        "processor": processor(),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0,
        "python": platform.python_version(),
        **{name: metadata.version(name) for name in PACKAGES},
    }


def processor() -> str:
    """Return the name, model and stepping of the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text().split("\n\n", 1)[0].splitlines()
    except OSError:
        return platform.processor()
    entries = dict(line.split(":", 1) for line in lines if ":" in line)
    fields = {name.strip(): value.strip() for name, value in entries.items()}
    return " ".join(fields.get(n, "") for n in ("model name", "cpu family", "model", "stepping"))


def start(words: list[str], cwd: Path, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run ``circuit`` as a process that imports what it needs."""
    line = [sys.executable, "-m", "circuit", *words]
    return subprocess.run(line, cwd=cwd, env=env, capture_output=True, text=True, check=False)


def record(checkout: Path, sessions: list[str]) -> dict[str, dict[str, Any]]:
    """Return the outcome of every command line by session."""
    found: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        recorder = Recorder(Path(scratch), checkout, start)
        for session in sessions:
            found[session] = {}
            for index, line in enumerate(COMMANDS[session]["lines"]):
                begun = time.perf_counter()
                outcome = recorder.outcome(session, index)
                found[session][line] = packed(outcome)
                seconds = time.perf_counter() - begun
                print(f"{seconds:6.1f} s  {outcome['code']}  {session}: {line}", file=sys.stderr)
    return found


def write(path: Path, found: dict[str, dict[str, Any]]) -> None:
    """Write the record with one command a line."""
    parts = [f'"machine": {json.dumps(machine())}']
    for session, outcomes in found.items():
        lines = [f"{dumped(line)}: {dumped(outcome)}" for line, outcome in outcomes.items()]
        parts.append(f"{dumped(session)}: {{\n" + ",\n".join(lines) + "\n}")
    path.write_text("{\n" + ",\n".join(parts) + "\n}\n")


def dumped(value: Any) -> str:
    """Return compact JSON."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def main() -> None:
    """Record a checkout."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkout", type=Path)
    parser.add_argument("--into", type=Path, default=RECORD.parent)
    parser.add_argument("--session", action="append", choices=list(COMMANDS))
    options = parser.parse_args()
    checkout = options.checkout.resolve()
    write(options.into / RECORD.name, record(checkout, options.session or list(COMMANDS)))
    env = environment(checkout)
    env["PYTHONPATH"] = os.pathsep.join([str(checkout), str(RECORD.parents[1])])
    surface = [sys.executable, "-m", "recorded.surface"]
    done = subprocess.run(surface, env=env, capture_output=True, text=True, check=True)
    (options.into / "options.json").write_text(done.stdout)


if __name__ == "__main__":
    main()
