"""Makes the savers that the runtime is tested on importable here, too."""

import sys
from pathlib import Path

RUNTIME = str(Path(__file__).parent.parent / "runtime")
if RUNTIME not in sys.path:
    sys.path.insert(0, RUNTIME)
