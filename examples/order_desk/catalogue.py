"""What the shop sells and what delivery costs: a table in SQLite, in memory, and the fees of the vans."""

import functools
import sqlite3

PRICES = {
    "backpack": 6, "basket": 3, "bell": 2, "belt": 4, "blanket": 6, "bowl": 3, "broom": 2,
    "bucket": 4, "candle": 2, "chair": 6, "clock": 6, "comb": 2, "curtain": 6, "cushion": 4,
    "doormat": 4, "drum": 7, "globe": 7, "hammer": 4, "hat": 3, "helmet": 7, "jug": 4, "kettle": 4,
    "kite": 4, "ladder": 7, "lamp": 5, "lantern": 7, "mirror": 7, "mug": 3, "notebook": 3, "pan": 5,
    "pillow": 5, "puzzle": 5, "rug": 5, "ruler": 2, "saw": 7, "scarf": 5, "shelf": 6, "spoon": 2,
    "stool": 6, "teapot": 5, "towel": 3, "tray": 2, "umbrella": 7, "vase": 3, "wallet": 5,
    "whistle": 2, "wreath": 3, "zither": 6,
}  # fmt: skip

FEES = {"red": 1, "blue": 2, "green": 3, "white": 4}


LARGE_TOTAL = 12
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
