"""Makes the modules beside this file importable by every test, whatever folder it is in, and hypothesis repeatable."""

import sys
from pathlib import Path

from hypothesis import settings

HERE = str(Path(__file__).parent)
if HERE not in sys.path:
    sys.path.insert(0, HERE)

# No deadline: heavy imports are deferred, so that the first example of a test may take half a second.
settings.register_profile("repeatable", deadline=None, derandomize=True)
settings.load_profile("repeatable")
