"""Makes the modules beside this file importable by every test, whatever folder it is in."""

import sys
from pathlib import Path

HERE = str(Path(__file__).parent)
if HERE not in sys.path:
    sys.path.insert(0, HERE)
