"""Exact checks of the two sums, for the verifier `check`: a sum that fails is asked for again, not put right here."""

import json
from typing import Any

import graph as desk
from catalogue import fee_of
from prompts import summed


def goods(text: str, subject: Any) -> bool:
    """Whether the text adds up the two prices that `subtotal` read, in their order."""
    one, other = desk.prices_in(subject.inputs.get("prices"))
    return text == summed(one, other)


def total(text: str, subject: Any) -> bool:
    """Whether the text adds the fee of the van to the price of the goods, both as `work_total` read them."""
    read = subject.inputs
    return text == summed(desk.amount_in(read.get("goods")), fee_of(desk.text_in(read.get("van"))))


def as_order(text: str) -> str:
    """What `intake` makes of the model's words, for the verifier `resolve`."""
    return json.dumps(desk.order_in(text))
