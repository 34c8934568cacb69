"""Makes the modules beside this file importable by every test, whatever folder it is in, and hypothesis repeatable."""

import os
import sys
from pathlib import Path

import pytest
from hypothesis import settings

HERE = Path(__file__).parent
for folder in (HERE, HERE / "interpose"):  # where the scripted server is
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))

# No deadline: heavy imports are deferred, so that the first example of a test may take half a second.
settings.register_profile("repeatable", deadline=None, derandomize=True)
settings.load_profile("repeatable")


def pytest_collection_modifyitems(items):
    """Long forms of tests run where SHERLOCK_SOAK is set."""
    if not os.environ.get("SHERLOCK_SOAK"):
        for item in items:
            if item.get_closest_marker("soak"):
                item.add_marker(pytest.mark.skip(reason="a long test: set SHERLOCK_SOAK=1"))
