"""A check that a plan in a file can name."""

from small_graphs import RIGHT, WRONG


def no_rivers(text):
    return (False, RIGHT) if text == WRONG else True
