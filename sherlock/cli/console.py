"""Consoles for results and for progress, and JSON that is valid whatever the stream can encode."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console


def for_results() -> "Console":
    """Standard output. Plain text where it is no terminal."""
    from rich.console import Console

    return Console(file=sys.stdout, highlight=False, markup=False, emoji=False)


def for_progress() -> "Console":
    """Standard error."""
    from rich.console import Console

    return Console(file=sys.stderr, highlight=False, markup=False, emoji=False)


def is_live() -> bool:
    """Whether progress may be drawn over and over: a terminal, and nobody who asked for plain text."""
    wanted = not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    return wanted and sys.stderr.isatty()


def print_saved(files: Sequence[Path], out: "Console") -> None:
    """Say which files were written, in one line that a terminal does not break."""
    if files:
        out.print()
        said = f"Saved {' and '.join(map(str, files))}"
        out.print(said, markup=False, highlight=False, emoji=False, soft_wrap=True)


def print_json(text: str) -> None:
    """Print JSON; letters that standard output cannot encode are written as JSON escapes."""
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeError:
        text = "".join(letter if letter.isascii() else _escaped(letter) for letter in text)
    print(text)


def _escaped(letter: str) -> str:
    units = letter.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[place : place + 2].hex()}" for place in range(0, len(units), 2))
