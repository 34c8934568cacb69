"""The code on these pages runs as tests: one namespace a page, in an empty folder."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser, SkipParser


@contextmanager
def _empty_folder() -> Iterator[None]:
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            yield
        finally:
            os.chdir(before)


def _setup(namespace: dict[str, object]) -> None:
    namespace["_folder"] = folder = _empty_folder()
    folder.__enter__()


def _teardown(namespace: dict[str, object]) -> None:
    namespace["_folder"].__exit__(None, None, None)  # type: ignore[attr-defined]


pytest_collect_file = Sybil(
    parsers=[PythonCodeBlockParser(), SkipParser()], patterns=["*.md"], setup=_setup, teardown=_teardown
).pytest()
