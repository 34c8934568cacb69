"""The child process of the embedded model: one llama.cpp server that ends when its parent does.

Run as a script by `sherlock.models.local`, with its settings as JSON in the first argument; it imports
nothing of Sherlock. It writes one JSON line to standard output once it listens, and its log to standard
error.
"""

import json
import os
import sys
import threading
import time
from typing import Any

PARENT_POLL_S = 0.5


def main() -> None:
    settings: dict[str, Any] = json.loads(sys.argv[1])
    report = _claim_stdout()
    _follow_parent(settings["parent_pid"])
    server = _start(settings)
    os.write(report, (json.dumps({"address": server.listening_address}) + "\n").encode())
    os.close(report)
    threading.Event().wait()


def _claim_stdout() -> int:
    """Keep standard output for the report: the model library prints to it, and that belongs in the log."""
    report = os.dup(1)
    os.dup2(2, 1)
    return report


def _follow_parent(parent_pid: int) -> None:
    """End this process when the parent does, even by SIGKILL.

    The pipe on standard input closes at once, but a process that the parent forked may hold it open; the
    parent's id changes too, which is seen within half a second, but not on Windows. So both are watched.
    """
    threading.Thread(target=_until_pipe_closes, daemon=True).start()
    if hasattr(os, "fork"):
        threading.Thread(target=_until_orphaned, args=(parent_pid,), daemon=True).start()


def _until_pipe_closes() -> None:
    while os.read(0, 4096):
        pass
    os._exit(0)


def _until_orphaned(parent_pid: int) -> None:
    while os.getppid() == parent_pid:
        time.sleep(PARENT_POLL_S)
    os._exit(0)


def _start(settings: dict[str, Any]) -> Any:
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = settings["weights"]
    params.model_alias = {settings["model"]}
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.n_parallel = settings["slots"]
    params.n_ctx = settings["slots"] * settings["context"]
    params.cache_ram_mib = settings["prompt_cache_mib"]
    # Else the sliding window forgets the start of a slot's text, and no common prefix can be used again.
    params.swa_full = True
    # Else a prompt takes over the slot of another one that begins a little like it, and its prefix is lost.
    params.slot_prompt_similarity = 0.5
    params.n_gpu_layers = 0
    params.chat_template = settings["chat_template"]
    params.use_jinja = True
    params.ui = False
    params.endpoint_slots = False
    for cpu in (params.cpuparams, params.cpuparams_batch):
        cpu.n_threads = settings["threads"]
        cpu.poll = 0
    return xllamacpp.Server(params)


if __name__ == "__main__":
    main()
