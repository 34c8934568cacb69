"""What model calls cost in dollars: the user's own prices first, then the price map that litellm ships.

The map is read from litellm's data file, once, when first needed; litellm itself is not imported and nothing is
fetched. Prices for batches, priority and very long prompts are not applied.
"""

import difflib
import functools
import importlib.util
import ipaddress
import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from sherlock.errors import ModelError
from sherlock.models.energy import energy
from sherlock.usage import Energy, Usage

_MAP_FILE = "model_prices_and_context_window_backup.json"
_ON_OWN_MACHINE = {"ollama", "lemonade"}
_KEYS = ("input", "output", "cached")
_DATE = re.compile(r"[-@](?:latest|\d{8}|\d{4}-\d{2}-\d{2})$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """USD per million tokens; `cached` is for input tokens that the server had cached."""

    input: float
    output: float
    cached: float

    def usd(self, usage: Usage) -> float:
        """What a usage costs at this price."""
        cached = min(usage.tokens_cached, usage.tokens_in)
        fresh = usage.tokens_in - cached
        return (fresh * self.input + cached * self.cached + usage.tokens_out * self.output) / 1e6


class Prices:
    """Prices by model name.

    `table` holds the user's own, which come first: `{"openai/gpt-4o": {"input": 2.5, "output": 10, "cached": 1.25}}`
    in USD per million tokens; without `cached`, cached tokens cost as much as others. A model is found under its name
    as given, without its provider, and without a date at its end. `energy_table` is the user's own for watt-hours, as
    `sherlock.models.energy` takes it. A malformed table is a `ModelError`.
    """

    def __init__(
        self,
        table: Mapping[str, Mapping[str, float]] | None = None,
        energy_table: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        self._energy = dict(energy_table or {})
        self._own = {model: _own_price(model, entry) for model, entry in (table or {}).items()}

    def wh(self, model: str, usage: Usage) -> Energy | None:
        """The watt-hours of `usage` of `model`; None when they are unknown."""
        return energy(model, usage, self._energy)

    def usd(self, model: str, usage: Usage, *, base_url: str | None = None) -> float | None:
        """What `usage` of `model` costs; None when the price is unknown.

        The model `local`, or any served on this machine's loopback address (`base_url`), costs 0.0 unless the
        user's table prices it.
        """
        names = list(_names(model))
        price = next((self._own[name] for name in names if name in self._own), None)
        if price is None and (model == "local" or (base_url is not None and is_loopback(base_url))):
            return 0.0
        price = price or _shipped_price(names)
        return None if price is None else price.usd(usage)


def _own_price(model: str, entry: Mapping[str, float]) -> Price:
    place = f"the price of {model!r}"
    if not isinstance(entry, Mapping):
        raise ModelError(f"{place} is {entry!r}, give input and output in USD per million tokens")
    for key, value in entry.items():
        if key not in _KEYS:
            near = difflib.get_close_matches(str(key), _KEYS, n=1)
            cure = f"did you mean {near[0]!r}?" if near else "it has input, output, cached"
            raise ModelError(f"{place} has an unknown key {key!r}, {cure}")
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
            raise ModelError(f"{place} has {key}={value!r}, give USD per million tokens")
    for key in ("input", "output"):
        if key not in entry:
            raise ModelError(f"{place} has no {key!r}, give USD per million tokens")
    return Price(input=entry["input"], output=entry["output"], cached=entry.get("cached", entry["input"]))


def _names(model: str) -> Iterator[str]:
    """Names to look a model up by, from the most particular."""
    tuned = re.match(r"ft:[^:]+", model.removeprefix("openai/"))
    whole = tuned[0] if tuned else model
    for name in (whole, _DATE.sub("", whole)):
        yield name
        while "/" in name:
            name = name.partition("/")[2]
            yield name


def is_loopback(base_url: str) -> bool:
    """Whether the address is on this machine, which nobody else can reach."""
    host = urlsplit(base_url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _shipped_price(names: list[str]) -> Price | None:
    provider = names[0].partition("/")[0] if "/" in names[0] else None
    for name in dict.fromkeys(names):
        entry = _shipped().get(name)
        if entry is not None and _is_of(provider, name, entry):
            return _price_of(entry)
    return _price_of_dated(names[-1], provider)


def _is_of(provider: str | None, name: str, entry: Mapping[str, Any]) -> bool:
    """Whether an entry found without the provider's prefix is that provider's own."""
    if provider is None or name.startswith(f"{provider}/"):
        return True
    return str(entry.get("litellm_provider", "")).startswith(provider)


def _price_of_dated(name: str, provider: str | None) -> Price | None:
    """The price of a name that is only listed with dates, if all of them cost the same."""
    dated = [entry for key, entry in _dated().get(name, ()) if _is_of(provider, key, entry)]
    found = {_price_of(entry) for entry in dated}
    return found.pop() if len(found) == 1 else None


def _price_of(entry: Mapping[str, Any]) -> Price | None:
    sent, received = entry.get("input_cost_per_token"), entry.get("output_cost_per_token")
    if not isinstance(sent, int | float) or not isinstance(received, int | float):
        return None
    if sent == received == 0 and entry.get("litellm_provider") not in _ON_OWN_MACHINE:
        return None  # the map's placeholder for a price that it does not know
    cached = entry.get("cache_read_input_token_cost")
    cached = cached if isinstance(cached, int | float) else sent
    return Price(input=sent * 1e6, output=received * 1e6, cached=cached * 1e6)


@functools.cache
def _shipped() -> Mapping[str, Mapping[str, Any]]:
    """The price map by model name; empty when litellm is not installed."""
    spec = importlib.util.find_spec("litellm")
    if spec is None or spec.origin is None:
        return {}
    path = Path(spec.origin).with_name(_MAP_FILE)
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    return {name: entry for name, entry in found.items() if isinstance(entry, dict) and name != "sample_spec"}


@functools.cache
def _dated() -> Mapping[str, list[tuple[str, Mapping[str, Any]]]]:
    """The entries whose name ends in a date, by the name without it."""
    found: dict[str, list[tuple[str, Mapping[str, Any]]]] = {}
    for name, entry in _shipped().items():
        if (stem := _DATE.sub("", name)) != name:
            found.setdefault(stem, []).append((name, entry))
    return found
