"""Commands of ``circuit`` as processes that are forked from one whose imports are done.

What a small command costs is its imports: 1.3 of 1.7 s for transformers, scipy, scikit-learn. This
program makes them once, and then runs each command that it is asked for in a fork of itself: a process
of its own, with its own folder, environment, files, memory and exit status, in which
``python -m circuit`` goes on from its first line.

What must not cross a fork is left to the child: MLX, a BLAS for it, and anything that has started
threads. Linux only: on macOS the system's own libraries do not survive a fork.

Started by ``processes``, with the number of a socket: a request is one packet, the JSON of
``{"words", "cwd", "env"}`` with the descriptors of stdout and stderr; the answer is the exit status.
"""

import gc
import importlib
import json
import os
import pkgutil
import runpy
import socket
import sys
import threading

HEAVY = (
    "transformers.models.auto.tokenization_auto",
    "transformers.tokenization_utils_tokenizers",
    "huggingface_hub.hf_api",
    "matplotlib.backends.backend_agg",
    "matplotlib.pyplot",
    "sklearn.cluster",
    "sklearn.decomposition",
    "sklearn.discriminant_analysis",
    "sklearn.linear_model",
    "sklearn.metrics",
)
# None of these imports MLX: the layers of the package are tested.
OF_CIRCUIT = ("circuit.artifacts", "circuit.methods", "circuit.plots", "circuit.cli")
LONGEST = 1 << 18


def prepare() -> None:
    """Import what is slow to import and safe to fork."""
    importlib.import_module("circuit.cli.app").quieten()
    for name in HEAVY:
        importlib.import_module(name)
    for name in OF_CIRCUIT:
        package = importlib.import_module(name)
        for module in pkgutil.walk_packages(package.__path__, name + "."):
            importlib.import_module(module.name)
    unsafe = {"mlx", "mlx_lm", "umap", "numba"} & set(sys.modules)
    assert not unsafe, unsafe
    assert threading.active_count() == 1
    gc.collect()
    gc.freeze()  # or the first collection of every child copies every page


def serve(channel: socket.socket) -> dict | None:
    """Fork for each request and answer with its exit status; in the child, return the request."""
    while True:
        packet, descriptors, _, _ = socket.recv_fds(channel, LONGEST, 2)
        if not packet:
            return None
        child = os.fork()
        if not child:
            channel.close()
            for ours, theirs in zip((1, 2), descriptors, strict=True):
                os.dup2(theirs, ours)
                os.close(theirs)
            return json.loads(packet)
        for descriptor in descriptors:
            os.close(descriptor)
        _, status = os.waitpid(child, 0)
        channel.send(str(os.waitstatus_to_exitcode(status)).encode())


def become_circuit(words: list[str], cwd: str, env: dict[str, str]) -> None:
    """Do what ``python -m circuit`` does with ``words``."""
    os.environ.clear()
    os.environ.update(env)
    os.chdir(cwd)
    sys.path[0] = cwd
    sys.argv = ["circuit", *words]
    runpy.run_module("circuit", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    prepare()
    # The end of a command is the end of this file: Python itself writes tracebacks, flushes and exits.
    if (request := serve(socket.socket(fileno=int(sys.argv[1])))) is not None:
        become_circuit(**request)
