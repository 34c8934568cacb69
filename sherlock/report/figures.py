"""Numbers as people read them: estimates with their intervals, shares, counts, dollars, durations."""

from sherlock.estimate import Estimate


def number(value: float) -> str:
    """Two decimals, and no minus before a zero."""
    shown = f"{value:.2f}"
    return "0.00" if shown == "-0.00" else shown


def figure(estimate: Estimate) -> str:
    """`0.93 [0.78, 0.99]`."""
    return f"{number(estimate.value)} [{number(estimate.low)}, {number(estimate.high)}]"


def share(estimate: Estimate) -> str:
    """`35 % [18, 57]`."""
    value, low, high = (round(100 * part) for part in (estimate.value, estimate.low, estimate.high))
    return f"{value} % [{low}, {high}]"


def percent(value: float) -> str:
    """`95 %`, with decimals where they say something."""
    return f"{100 * value:.10g} %"


def count(n: int, what: str = "", plural: str = "") -> str:
    """`1,234 trials`, `1 trial`."""
    noun = what if n == 1 else plural or f"{what}s"
    return f"{n:,} {noun}" if what else f"{n:,}"


def dollars(usd: float | None) -> str:
    """`$0.42`; small sums keep two figures; None is unknown."""
    if usd is None:
        return "unknown"
    return f"${usd:,.2f}" if usd == 0 or usd >= 0.1 else f"${usd:.2g}" if usd >= 1e-4 else "under $0.0001"


def duration(seconds: float) -> str:
    """`0.4 s`, `42 s`, `2 min 31 s`, `1 h 5 min`."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def amount(value: float) -> str:
    """Two figures of whatever size: `120`, `3.4`, `0.012`, `0`."""
    if value == 0:
        return "0"
    return f"{value:,.0f}" if abs(value) >= 10 else f"{value:.2g}"
