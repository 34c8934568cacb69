"""The directive and the examples of each step that asks the model, and the form of the question."""

import json
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Prompt:
    """What a step tells the model: one or two sentences, then solved examples."""

    directive: str
    examples: tuple[tuple[str, str], ...]

    def messages(self, question: str) -> list[dict[str, str]]:
        turns = [{"role": "system", "content": self.directive}]
        for asked, answered in self.examples:
            turns += [{"role": "user", "content": asked}, {"role": "assistant", "content": answered}]
        return [*turns, {"role": "user", "content": question}]


def order_text(name: str, city: str, *items: str) -> str:
    return json.dumps({"name": name, "city": city, "items": list(items)})


def priced(first: str, price: int, second: str, other_price: int) -> str:
    return f"The {first} costs {price} dollars and the {second} costs {other_price} dollars."


def charged(goods: int, fee: int) -> str:
    return f"The goods cost {goods} dollars and the delivery costs {fee} dollars."


def summed(one: int, other: int) -> str:
    return f"{one} + {other} = {one + other}"


def facts(name: str, van: str, total: int) -> str:
    return f"Name: {name}. Van: {van}. Total: {total} dollars."


def reply(name: str, van: str, total: int) -> str:
    return f"Dear {name}, your parcel comes in the {van} van. The total is ${total}."


INTAKE = Prompt(
    "Read the e-mail and write down who orders, the city it goes to and the two things that are ordered.",
    (
        (
            "Hello, I am Anna. Please send a lamp and a rug to Oslo.",
            order_text("Anna", "Oslo", "lamp", "rug"),
        ),
        (
            "Dear shop, please send a clock and a vase to my home in Paris. I used to live in Rome. Best wishes, Peter",
            order_text("Peter", "Paris", "clock", "vase"),
        ),
        (
            "Hi, Laura here from Vienna. I would like a drum and a towel. My brother in Milan told me about your shop.",
            order_text("Laura", "Vienna", "drum", "towel"),
        ),
        (
            "Good morning, I want to order a kite and a ladder. My name is Tom and I live in Dublin.",
            order_text("Tom", "Dublin", "kite", "ladder"),
        ),
    ),
)

TONE = Prompt(
    "Say whether the customer is happy or angry.",
    (
        ("The last parcel was perfect, thank you.", "happy"),
        ("The last parcel arrived broken.", "angry"),
        ("You sent me the wrong thing twice.", "angry"),
        ("I love the things I bought from you.", "happy"),
        ("Your service is excellent.", "happy"),
        ("This is the worst shop I know.", "angry"),
        ("Everything arrived early and in good order.", "happy"),
        ("Nobody answered my letters.", "angry"),
    ),
)

SHIPPING = Prompt(
    "Read the dispatch sheet and say in which colour of van the parcel goes.",
    (
        ("Parcels to Oslo go in a red van.", "red"),
        ("Letters to Rome go in a green bag. Parcels to Rome go in a blue van.", "blue"),
        ("The white van takes the parcels to Madrid.", "white"),
        ("Parcels for Lisbon travel in the black van. Letters to Lisbon go in a yellow bag.", "black"),
        ("Letters for Paris are kept in the red bag. The green van takes the parcels to Paris.", "green"),
        ("Parcels for Milan travel in the yellow van.", "yellow"),
    ),
)

SUBTOTAL = Prompt(
    "Add up the two prices.",
    (
        (priced("lamp", 5, "rug", 7), summed(5, 7)),
        (priced("clock", 7, "vase", 4), summed(7, 4)),
    ),
)

TOTAL = Prompt(
    "Add the delivery fee to the price of the goods.",
    (
        (charged(12, 1), summed(12, 1)),
        (charged(11, 4), summed(11, 4)),
        (charged(6, 3), summed(6, 3)),
        (charged(14, 5), summed(14, 5)),
    ),
)

COMPOSE = Prompt(
    "Write the reply to the customer.",
    (
        (facts("Anna", "red", 13), reply("Anna", "red", 13)),
        (facts("Peter", "green", 15), reply("Peter", "green", 15)),
    ),
)
