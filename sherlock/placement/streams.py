"""Streams of random draws by name: each depends on the seed and on what it is for, never on what else is drawn."""

import functools
import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def stream(seed: int, *names: str) -> "np.random.Generator":
    """The generator of that name."""
    from numpy.random import default_rng

    digest = hashlib.blake2b("\0".join(names).encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return default_rng([seed, int.from_bytes(digest, "big")])


@functools.lru_cache(maxsize=512)
def uniform(seed: int, draws: int, *names: str) -> "NDArray[np.float64]":
    """`draws` uniform numbers of the stream of that name; not to be written to."""
    found = stream(seed, *names).random(draws)
    found.flags.writeable = False
    return found
