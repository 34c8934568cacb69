"""Fixtures for the embedded model: `local_model`, a server for the whole session, and `model_extra`.

A module that uses them says `pytest_plugins = ("model_fixture",)` and does not import this one. Where the extra `local`
is missing its tests skip with the reason; with SHERLOCK_REQUIRE_MODEL=1 they fail instead.
"""

import os
from collections.abc import Iterator

import pytest

from sherlock.models.local import LocalServer, available, serve


@pytest.fixture(scope="session")
def model_extra() -> None:
    """Skip the test, or fail it where the model is required, if the embedded model cannot run here."""
    reason = available()
    if reason and os.environ.get("SHERLOCK_REQUIRE_MODEL") == "1":
        pytest.fail(reason)
    if reason:
        pytest.skip(reason)


@pytest.fixture(scope="session")
def local_model(model_extra: None) -> Iterator[LocalServer]:
    with serve() as server:
        yield server
