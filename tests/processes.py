"""Run code in a process of its own, also as somebody who may not write where the tests may."""

import atexit
import functools
import json
import os
import socket
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

NOBODY = 65534
TESTS = Path(__file__).parent
CIRCUIT = (sys.executable, "-m", "circuit")
# What pytest and imported packages set in this process says nothing to a command.
OURS = ("PYTEST_", "KMP_", "TRANSFORMERS_NO_ADVISORY_WARNINGS", "MLX_", "OPENBLAS_THREAD_TIMEOUT")


@dataclass(frozen=True)
class Server:
    """A process of ``fork_server``, and the environment in which it made its imports."""

    channel: socket.socket
    process: subprocess.Popen
    env: dict[str, str]

    def run(self, words: list[str], cwd: Path, env: dict[str, str]) -> subprocess.CompletedProcess:
        """Run ``circuit`` with ``words`` in a fork of the server."""
        request = json.dumps({"words": words, "cwd": str(cwd), "env": env}).encode()
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            socket.send_fds(self.channel, [request], [out.fileno(), err.fileno()])
            code = int(self.channel.recv(64))
            said = [file.seek(0) or file.read().decode() for file in (out, err)]
        return subprocess.CompletedProcess([*CIRCUIT, *words], code, *said)

    def stop(self) -> None:
        """Let the server end."""
        self.channel.close()
        self.process.wait()


def start_server(env: dict[str, str]) -> Server:
    """Start a server that makes its imports under ``env``; it ends with this process or by ``stop``."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        line = [sys.executable, str(TESTS / "fork_server.py"), str(theirs.fileno())]
        nothing = subprocess.DEVNULL
        files = {"stdin": nothing, "stdout": nothing, "pass_fds": [theirs.fileno()]}
        started = Server(ours, subprocess.Popen(line, env=env, **files), env)
    atexit.register(started.stop)
    return started


@functools.cache
def server() -> Server:
    """Start the server of this process, once."""
    return start_server(dict(os.environ))


def comparable(env: dict[str, str]) -> dict[str, str]:
    """Leave out of ``env`` what ``OURS`` names."""
    return {name: value for name, value in env.items() if not name.startswith(OURS)}


def run_circuit(
    *words: str, cwd: Path | None = None, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run ``circuit`` with ``words`` as a process of its own, forked where that is the same.

    A variable that was changed may be one that is read at an import: then the process is started
    from scratch, as it is on a system other than Linux.
    """
    folder, env = Path(cwd or Path.cwd()), dict(os.environ if env is None else env)
    if sys.platform == "linux" and comparable(env) == comparable(server().env):
        return server().run(list(words), folder, env)
    return start_circuit(*words, cwd=folder, env=env)


def start_circuit(
    *words: str, cwd: Path | None = None, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run ``circuit`` with ``words`` as a process that imports what it needs, as a user's does."""
    return subprocess.run(
        [*CIRCUIT, *words], cwd=cwd, env=env, capture_output=True, text=True, check=False
    )


def run_in_read_only(folder: Path, code: str) -> str:
    """Run ``code`` as nobody, in ``folder``, which is read-only meanwhile; return what it prints."""
    # Root may write everywhere. Imports come first: nobody may not be allowed to read the sources.
    imports = "import circuit.artifacts.activations.writer, circuit.artifacts.archive.archive\n"
    drop = f"import os; os.setgid({NOBODY}); os.setuid({NOBODY})\n" if os.geteuid() == 0 else ""
    command = [sys.executable, "-c", imports + drop + code]
    folder.chmod(0o555)
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    finally:
        folder.chmod(0o755)
    return done.stdout


def run_code(*arguments) -> subprocess.Popen:
    """Start Python with ``arguments`` and the modules of the tests; its output is piped."""
    path = os.pathsep.join([str(TESTS), str(TESTS.parent)])
    env = {**os.environ, "PYTHONPATH": path, "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, *map(str, arguments)]
    return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True)
