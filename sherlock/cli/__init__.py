"""The command line: parse, call the library once, render, exit.

    0    done, also where a limit ended it early and the result is marked partial
    1    something is broken (`doctor`), or an unexpected exception
    2    wrong input: one line on standard error says what, where, and the cure
    130  Ctrl-C; what was measured is kept
    143  SIGTERM; the same

Nothing heavy is imported before a command needs it.
"""

import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

from sherlock.errors import SherlockError

WRONG_INPUT = 2
INTERRUPTED = 130
TERMINATED = 143


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; `arguments` default to those of the process. Returns the exit code."""
    from sherlock.cli.app import UsageError, command

    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    given = list(sys.argv[1:] if arguments is None else arguments)
    with _sigterm_as_interrupt() as terminated:
        try:
            code = command().main(given, "sherlock", standalone_mode=False)
            sys.stdout.flush()
        except SherlockError as error:
            return _refuse(str(error))
        except UsageError as error:
            return _refuse(_usage(error))
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # the reader has gone, as with `| head`
            return 1
    if code == INTERRUPTED and terminated:
        return TERMINATED
    return code if isinstance(code, int) else 0


@contextmanager
def _sigterm_as_interrupt() -> Iterator[list[int]]:
    """Let SIGTERM do what Ctrl-C does, and note that it came."""
    came: list[int] = []

    def terminate(number: int, _frame: FrameType | None) -> None:
        came.append(number)
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield came
        return
    before = signal.signal(signal.SIGTERM, terminate)
    try:
        yield came
    finally:
        signal.signal(signal.SIGTERM, before)


def _refuse(message: str) -> int:
    """One line, whatever the message holds."""
    line = " ".join(message.split())
    print("sherlock:", "".join(letter if letter.isprintable() else " " for letter in line), file=sys.stderr)
    return WRONG_INPUT


def _usage(error: Exception) -> str:
    """The parser's own message, and where to look."""
    context = getattr(error, "ctx", None)
    message = error.format_message() if hasattr(error, "format_message") else str(error)
    path = context.command_path if context is not None else "sherlock"
    return f"{message.rstrip('.')}; see `{path} --help`"
