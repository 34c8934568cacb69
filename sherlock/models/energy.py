"""What model calls cost in watt-hours, always as an interval: one figure per token would be wrong by 3 to 15 times.

After arXiv:2509.20241: `E[Wh] = PUE * P_node[kW] / (3.6 * TPS) * L_out`, with the output tokens `L_out` and the tokens
per second `TPS` that a whole node of eight H100 puts out for all that it serves at once. PUE lies in 1.05-1.40, the
node's power in 0.4-0.9 of 11.3 kW, with 0.7 in the middle. The paper has a median of 0.34 Wh (IQR 0.18-0.67) for a
query of about 300 output tokens to a model of over 200 billion parameters. Input is in it for prompts of about 500
tokens; much longer ones cost more than is said here.

The ranges of throughput by size are our own estimates, set wide: hence the tag `estimated`. The size is read off the
model's name, or given. A model whose size is not known has no figure: most hosted models do not say, and a range over
all sizes would be a hundredfold.
"""

import difflib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sherlock.errors import ModelError
from sherlock.usage import Energy, EnergySource, Usage

PUE = (1.05, 1.40)
NODE_KW = (0.4 * 11.3, 0.9 * 11.3)
NODE_KW_USUAL = 0.7 * 11.3

SOURCES: tuple[EnergySource, ...] = ("measured", "published", "estimated")
_KEYS = ("size_b", "wh_per_1k", "watts", "source")
FEWEST_MILLIONS = 20
_SIZE = re.compile(r"(?<![a-z0-9.])(?:(\d+)x)?e?(\d+(?:\.\d+)?)(b|m)(?![a-z0-9])", re.IGNORECASE)

Table = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Throughput:
    """Output tokens per second of a whole node, for models of up to `size_b` billion parameters in total."""

    size_b: float
    low: float
    high: float


# The last line gives the paper's median for 300 output tokens to within a tenth, and holds its quartiles.
CLASSES = (
    Throughput(4, 20_000, 150_000),
    Throughput(15, 10_000, 70_000),
    Throughput(40, 5_000, 35_000),
    Throughput(80, 3_000, 20_000),
    Throughput(200, 1_500, 12_000),
    Throughput(math.inf, 700, 7_000),
)


def energy(model: str, usage: Usage, table: Table | None = None) -> Energy | None:
    """Watt-hours of `usage` of `model`; None when nothing is known of the model's size.

    `table` is the user's own (`[tool.sherlock.energy]`) and comes first; under a model's name stands one of

    - `size_b = 70`: billions of parameters, of a model whose name does not say;
    - `wh_per_1k = [0.3, 1.2]`: watt-hours for a thousand output tokens, as a range;
    - `watts = [20, 45]`: what the machine draws while a call runs, for a model on one's own;

    and, beside either of the last two, `source = "measured"` or `"published"`; else it is `estimated`. A malformed
    table is a `ModelError`. No calls need no energy.
    """
    own = _own(model, table or {})
    if usage.calls == 0 and usage.tokens_out == 0:
        return Energy(value=0.0, low=0.0, high=0.0, source="estimated")
    if "wh_per_1k" in own:
        low, high = own["wh_per_1k"]
        return _range(low * usage.tokens_out / 1000, high * usage.tokens_out / 1000, own["source"])
    if "watts" in own:
        low, high = own["watts"]
        return _range(low * usage.seconds / 3600, high * usage.seconds / 3600, own["source"])
    size = own.get("size_b", size_of(model))
    return None if size is None else _served(size, usage.tokens_out)


def size_of(model: str) -> float | None:
    """Billions of parameters in total, as a model's name says it: 70 for `llama-3.1-70b`, 56 for `mixtral-8x7b`.

    None if it does not say. Where a name has several sizes, such as `qwen3-235b-a22b`, the greatest counts; `1m` is the
    length of a context.
    """
    name = model.rpartition("/")[2]
    found = [(int(times or 1) * float(size), unit in "mM") for times, size, unit in _SIZE.findall(name)]
    sizes = [size / 1000 if millions else size for size, millions in found if not millions or size >= FEWEST_MILLIONS]
    return max(sizes, default=None)


def _served(size_b: float, tokens_out: int) -> Energy:
    """The formula at the ends of its ranges, and at their geometric middle."""
    speed = next(each for each in CLASSES if size_b <= each.size_b)
    low = PUE[0] * NODE_KW[0] / (3.6 * speed.high) * tokens_out
    high = PUE[1] * NODE_KW[1] / (3.6 * speed.low) * tokens_out
    usual = math.sqrt(PUE[0] * PUE[1]) * NODE_KW_USUAL / (3.6 * math.sqrt(speed.low * speed.high)) * tokens_out
    return Energy(value=usual, low=low, high=high, source="estimated")


def _range(low: float, high: float, source: EnergySource) -> Energy:
    return Energy(value=math.sqrt(low * high) if low else high / 2, low=low, high=high, source=source)


def _own(model: str, table: Table) -> dict[str, Any]:
    """The user's entry for a model, checked; it is found under its name with or without the provider."""
    checked = {name: _entry(name, entry) for name, entry in table.items()}
    names = (model, model.partition("/")[2], model.rpartition("/")[2])
    return next((checked[name] for name in names if name in checked), {})


def _entry(model: str, entry: object) -> dict[str, Any]:
    place = f"the energy of {model!r}"
    if not isinstance(entry, Mapping):
        raise ModelError(f"{place} is {entry!r}, give size_b, wh_per_1k or watts")
    for key in entry:
        if key not in _KEYS:
            near = difflib.get_close_matches(str(key), _KEYS, n=1, cutoff=0.0)
            raise ModelError(f"{place} has an unknown key {key!r}, did you mean {near[0]!r}?")
    if len(entry.keys() & {"size_b", "wh_per_1k", "watts"}) != 1:
        raise ModelError(f"{place} has {', '.join(entry) or 'nothing'}, give one of size_b, wh_per_1k and watts")
    if "size_b" in entry and not (_is_number(entry["size_b"]) and 0 < entry["size_b"] < math.inf):
        raise ModelError(f"{place} has size_b = {entry['size_b']!r}, give billions of parameters")
    for key in ("wh_per_1k", "watts"):
        if key in entry and not _is_range(entry[key]):
            raise ModelError(f"{place} has {key} = {entry[key]!r}, give a range [low, high]")
    source = entry.get("source", "estimated")
    if source not in SOURCES:
        raise ModelError(f"{place} has source = {source!r}, give one of {', '.join(SOURCES)}")
    return {**entry, "source": source}


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_range(value: object) -> bool:
    return (
        isinstance(value, list | tuple)
        and len(value) == 2
        and all(map(_is_number, value))
        and (0 <= value[0] <= value[1] < math.inf)
    )
