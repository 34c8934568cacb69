"""The fixture `local_model`: one server of the embedded model for the whole session.

A module that uses it says `pytest_plugins = ("model_fixture",)`. Where the extra `local` is missing its tests skip with
the reason; with SHERLOCK_REQUIRE_MODEL=1 they fail instead.
"""

import os
from collections.abc import Iterator

import pytest

from sherlock.models.local import LocalServer, available, serve


@pytest.fixture(scope="session")
def local_model() -> Iterator[LocalServer]:
    require_model()
    with serve() as server:
        yield server


def require_model() -> None:
    """Skip the test, or fail it where the model is required, if the embedded model cannot run here."""
    reason = available()
    if reason and os.environ.get("SHERLOCK_REQUIRE_MODEL") == "1":
        pytest.fail(reason)
    if reason:
        pytest.skip(reason)
