"""Tables of figures: what a column shows, and how columns share the width that there is."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from rich.cells import cell_len

Thing = TypeVar("Thing")
GAP = 2


@dataclass(frozen=True, slots=True)
class Column(Generic[Thing]):
    """`cell` gives the text for what a row is about, or None where there is no figure."""

    title: str
    cell: Callable[[Thing], str | None]
    meaning: str = ""
    is_number: bool = True
    is_drawing: bool = False
    """Only of use beside the figure that it draws, and left out where there is no room."""


def telling(columns: Sequence[Column[Thing]], things: Sequence[Thing]) -> list[Column[Thing]]:
    """The columns that have a figure for any of the things."""
    return [column for column in columns if any(column.cell(thing) is not None for thing in things)]


def groups(columns: Sequence[Column[Thing]], things: Sequence[Thing], room: int) -> list[list[Column[Thing]]]:
    """The columns in groups that are each at most `room` wide, in their order; a drawing without room is left out."""
    found: list[list[Column[Thing]]] = [[]]
    left = room
    for column in columns:
        wide = GAP + max(cell_len(column.title), *(cell_len(column.cell(thing) or "") for thing in things))
        if wide > left and column.is_drawing:
            continue
        if wide > left and found[-1]:
            found.append([])
            left = room
        found[-1].append(column)
        left -= wide
    return found
