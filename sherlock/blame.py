"""Says in one line which line of the user's code raised, so that no traceback has to be shown."""

import os
import sysconfig
import traceback
from pathlib import Path

_OWN = os.path.dirname(__file__)  # noqa: PTH120 - compared with the text of file names


def blame(error: BaseException) -> str:
    """`agent.py line 3: ValueError: no key`: the deepest line that is the user's own, and the exception.

    `error` must have been raised. Files in the working directory are named relative to it.
    """
    text = " ".join(str(error).split())
    what = f"{type(error).__name__}: {text}" if text else type(error).__name__
    if isinstance(error, SyntaxError) and error.filename:
        return f"{_short(error.filename)} line {error.lineno}: {type(error).__name__}: {error.msg}"
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if is_users(frame.filename)]
    if not own:
        return what
    return f"{_short(own[-1].filename)} line {own[-1].lineno}: {what}"


def is_users(filename: str) -> bool:
    """Whether a file is the user's own: not of the standard library, an installed package, or this one."""
    installed = {"site-packages", "dist-packages"}.intersection(Path(filename).parts)
    return not installed and not filename.startswith(("<", _OWN + os.sep, *_STANDARD))


def _short(filename: str) -> str:
    try:
        return str(Path(filename).relative_to(Path.cwd()))
    except ValueError:
        return filename


_STANDARD = tuple(path + os.sep for path in {sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")})
