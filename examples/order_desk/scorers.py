"""How an order desk reply is scored: four facts, all or the share of them that is right."""

import re
from typing import Any


def strict(output: dict[str, Any], case: Any) -> bool:
    """Whether customer, van, total and route are all right."""
    return all(right(output, case.expected).values())


def graded(output: dict[str, Any], case: Any) -> float:
    """The share of customer, van, total and route that is right."""
    found = right(output, case.expected)
    return sum(found.values()) / len(found)


def right(output: dict[str, Any], expected: dict[str, Any]) -> dict[str, bool]:
    """Which of the four facts are right in what the graph returned."""
    reply = str(output.get("reply") or "")
    return {
        "name": re.search(rf"Dear {re.escape(expected['name'])},", reply) is not None,
        "van": re.search(rf"\b{re.escape(expected['van'])} van\b", reply) is not None,
        # Digits are matched to their end: else $1 would be found in $15.
        "total": re.search(rf"\${expected['total']}(?!\d)", reply) is not None,
        "route": output.get("route") == expected["route"],
    }
