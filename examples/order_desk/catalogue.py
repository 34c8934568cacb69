"""What the shop sells and what delivery costs: a small SQLite table in memory, and the vans' fees."""

import functools
import sqlite3

PRICES = {
    "backpack": 9, "basket": 3, "bell": 2, "belt": 7, "blanket": 8, "bowl": 4, "broom": 5, "bucket": 4,
    "candle": 2, "chair": 9, "clock": 7, "comb": 3, "curtain": 8, "cushion": 6, "doormat": 5, "drum": 9,
    "globe": 8, "hammer": 6, "hat": 6, "helmet": 7, "jug": 5, "kettle": 6, "kite": 4, "ladder": 9,
    "lamp": 5, "lantern": 7, "mirror": 8, "mug": 3, "notebook": 2, "pan": 8, "pillow": 5, "puzzle": 4,
    "rug": 7, "ruler": 2, "saw": 8, "scarf": 6, "shelf": 9, "spoon": 3, "stool": 9, "teapot": 6,
    "towel": 3, "tray": 3, "umbrella": 7, "vase": 4, "wallet": 5, "whistle": 2, "wreath": 2, "zither": 4,
}  # fmt: skip

FEES = {"red": 1, "blue": 2, "green": 3, "white": 4, "yellow": 5, "black": 6}


LARGE_TOTAL = 15
"""An angry customer's order of this many dollars goes to the manager."""


def price_of(item: str) -> int:
    """The price in dollars of the item of exactly this name; 0 when the shop has none."""
    row = _table().execute("SELECT price FROM stock WHERE item = ?", (item,)).fetchone()
    return row[0] if row else 0


def fee_of(van: str) -> int:
    """The delivery fee in dollars of the van of this colour; 0 when there is no such van."""
    return FEES.get(van, 0)


@functools.cache
def _table() -> sqlite3.Connection:
    table = sqlite3.connect(":memory:", check_same_thread=False)
    table.execute("CREATE TABLE stock (item TEXT PRIMARY KEY, price INTEGER NOT NULL)")
    table.executemany("INSERT INTO stock VALUES (?, ?)", PRICES.items())
    return table
