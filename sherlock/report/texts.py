"""Makes other people's texts safe to show: no control character, one line, no wider than the place they go to."""

import unicodedata
from dataclasses import dataclass

from rich.cells import cell_len, set_cell_size

_JOINER = "\u200d"
"""Emoji are built with it; every other character of its category is invisible or turns the text round."""


def visible(text: str) -> str:
    r"""The text on one line, with control and invisible characters written as escapes, such as `\n`."""
    return "".join(letter if _is_plain(letter) else _escape(letter) for letter in text)


class Name(str):
    """The name of a node or a verifier in a sentence; each view sets it off in its own way."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Charset:
    """What an output can show. `encoding` is that of the stream; what it lacks is written as escapes or in ASCII."""

    encoding: str = "utf-8"

    @property
    def drawn(self) -> bool:
        """Whether lines, dashes and dots can be shown."""
        return self._has("─├┤●…\u2013")

    def _has(self, letters: str) -> bool:
        try:
            letters.encode(self.encoding)
        except (UnicodeError, LookupError):
            return False
        return True

    def text(self, text: str) -> str:
        """`text` made visible and encodable."""
        shown = visible(text)
        return shown if self._has(shown) else shown.encode("ascii", "backslashreplace").decode("ascii")

    def cut(self, text: str, width: int) -> str:
        """The text made safe, cut at its end to `width` columns."""
        safe = self.text(text)
        if cell_len(safe) <= width:
            return safe
        dots = self.ellipsis
        return set_cell_size(safe, max(0, width - len(dots))).rstrip() + dots[:width]

    def cut_middle(self, text: str, width: int) -> str:
        """The text made safe, cut in its middle to `width` columns: names that begin alike stay apart."""
        safe = self.text(text)
        if cell_len(safe) <= width:
            return safe
        tail = max(1, (width - len(self.ellipsis)) // 2)
        head = width - len(self.ellipsis) - tail
        end = set_cell_size(safe[::-1], tail)[::-1]
        return set_cell_size(safe, head) + self.ellipsis + end

    @property
    def ellipsis(self) -> str:
        return "…" if self.drawn else "..."

    @property
    def dash(self) -> str:
        return "\u2013" if self.drawn else "-"


def _is_plain(letter: str) -> bool:
    category = unicodedata.category(letter)
    return category[0] not in "CZ" or letter in (" ", _JOINER) or category in ("Zs", "Co", "Cn")


def _escape(letter: str) -> str:
    return letter.encode("unicode_escape").decode("ascii")
