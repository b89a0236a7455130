"""Run the recorded command lines, each where its inputs are, and digest what comes of it.

``commands.json`` holds sessions. The lines of a chain run in one folder, each on the files of those
before it. The lines of any other session each run in a fresh copy of the folder with which the session
named by ``from`` ended, so that they depend on nothing else and may run in any order.

The lines are those of README, of every ``--help`` and of the documents that the project implements, as
of the release before the rebuild, with ``--json`` where a command takes it; a few are shortened (fewer
layers, controls or tokens). ``more`` holds other sites, dtypes, formats and operators, and the chains
that ``verify`` follows; ``bad`` holds refused lines, ``again`` runs of commands whose output exists.
"""

import json
import os
import shlex
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from recorded.digest import Digester, file_hash, outline

HERE = Path(__file__).parent
COMMANDS: dict[str, Any] = json.loads((HERE / "commands.json").read_text())
RECORD = HERE / "before.json"
FULL = ("code", "files", "removed", "json", "traceback")
Run = Callable[[list[str], Path, dict[str, str]], subprocess.CompletedProcess[str]]


def environment(checkout: Path) -> dict[str, str]:
    """Return the variables under which every command of a record runs."""
    fixed = {
        "COLUMNS": "100",
        "HF_HUB_OFFLINE": "1",
        "MPLBACKEND": "agg",
        "NO_COLOR": "1",
        # The last bits of a number depend on the threads, and these on the cores.
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "PYTHONPATH": str(checkout),
    }
    kept = {k: v for k, v in os.environ.items() if k in ("PATH", "HOME", "LANG", "TMPDIR")}
    return kept | fixed


class Folder:
    """A folder to work in with a cache and a library of concepts beside it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.work = root / "work"

    def make(self, files: dict[str, str]) -> "Folder":
        """Make the folder with the given files, and a cache that holds what is slow to make."""
        self.work.mkdir(parents=True)
        for name, text in files.items():
            (self.work / name).write_text(text)
        cache = Path(os.environ.get("CIRCUIT_CACHE") or Path.home() / ".cache" / "circuit")
        (self.root / "cache").mkdir()
        if (cache / "blas").is_dir():
            (self.root / "cache" / "blas").symlink_to(cache / "blas")
        return self

    def copy(self, root: Path) -> "Folder":
        """Copy all of it."""
        shutil.copytree(self.root, root, symlinks=True)
        return Folder(root)

    def variables(self) -> dict[str, str]:
        """Return the variables that name this cache and this library."""
        cache, own = self.root / "cache", self.root / "concepts"
        return {"CIRCUIT_CACHE": str(cache), "CIRCUIT_CONCEPTS": str(own)}

    def stamps(self) -> dict[str, tuple[int, str]]:
        """Return when each file was written and a hash of what it holds."""
        files = [path for path in self.work.rglob("*") if path.is_file()]
        return {
            path.relative_to(self.work).as_posix(): (path.stat().st_mtime_ns, file_hash(path))
            for path in files
        }


class Recorder:
    """Runs sessions under ``root`` with the ``circuit`` of ``checkout``."""

    def __init__(self, root: Path, checkout: Path, run: Run) -> None:
        self.root = root
        self.checkout = checkout
        self.run = run
        self.env = environment(checkout)
        self.folders: dict[str, Folder] = {}
        self.outcomes: dict[str, list[dict[str, Any]]] = {}

    def outcome(self, session: str, index: int) -> dict[str, Any]:
        """Return the digest of a line's outcome, having run what it needs."""
        if "from" in COMMANDS[session]:
            return self._apart(session, index)
        outcomes = self.outcomes.setdefault(session, [])
        for line in COMMANDS[session]["lines"][len(outcomes) : index + 1]:
            outcomes.append(self._run(session, line, self._folder(session)))
        return outcomes[index]

    def _folder(self, session: str) -> Folder:
        if session not in self.folders:
            files = COMMANDS[session].get("files", {})
            self.folders[session] = Folder(self.root / session).make(files)
        return self.folders[session]

    def _apart(self, session: str, index: int) -> dict[str, Any]:
        before = COMMANDS[session]["from"]
        self.outcome(before, len(COMMANDS[before]["lines"]) - 1)
        folder = self.folders[before].copy(self.root / "copy")
        try:
            return self._run(session, COMMANDS[session]["lines"][index], folder)
        finally:
            shutil.rmtree(folder.root)

    def _run(self, session: str, line: str, folder: Folder) -> dict[str, Any]:
        before = folder.stamps()
        done = self.run(shlex.split(line), folder.work, self.env | folder.variables())
        places = {
            f"{folder.work}/": "",
            str(folder.work): ".",
            str(folder.root): "ROOT",
            f"{self.checkout}/": "circuit:",
        }
        digester = Digester(places)
        outcome: dict[str, Any] = {"code": done.returncode}
        if "Traceback" in done.stderr:
            outcome["traceback"] = done.stderr[-2000:]
        after = folder.stamps()
        written = sorted(name for name, stamp in after.items() if before.get(name) != stamp)
        if written:
            same = {
                name for name in written if name in before and before[name][1] == after[name][1]
            }
            outcome["written"] = {n: "same bytes" if n in same else "new bytes" for n in written}
            outcome["files"] = {name: digester.file(folder.work / name) for name in written}
        if removed := sorted(before.keys() - after.keys()):
            outcome["removed"] = removed
        if "--json" in line and done.returncode == 0:
            document = json.loads(done.stdout)
            about_machine = line.startswith("doctor")
            outcome["json"] = outline(document) if about_machine else digester.value(document)
        keys = COMMANDS[session].get("only", FULL)
        return {key: outcome[key] for key in keys if key in outcome}


def lines() -> Iterator[tuple[str, int, str]]:
    """Yield session, index and text of every command line."""
    for session, entry in COMMANDS.items():
        for index, line in enumerate(entry["lines"]):
            yield session, index, line


def packed(outcome: dict[str, Any]) -> dict[str, Any]:
    """Write a document only once that is also in a file, or is the results of one."""
    files = {
        name: each for name, each in outcome.get("files", {}).items() if isinstance(each, dict)
    }
    for name, content in files.items():
        if content == outcome.get("json"):
            return outcome | {"json": f"= {name}"}
        if "json" in outcome and content.get("results") == outcome["json"]:
            return outcome | {"json": f"= results of {name}"}
    return outcome


def unpacked(outcome: dict[str, Any]) -> dict[str, Any]:
    """Undo ``packed``."""
    named = outcome.get("json")
    if not isinstance(named, str) or not named.startswith("= "):
        return outcome
    content = outcome["files"][named.removeprefix("= ").removeprefix("results of ")]
    return outcome | {"json": content["results"] if named.startswith("= results of ") else content}
