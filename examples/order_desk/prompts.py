"""The directive and the examples of each step that asks the model, and the form of the question."""

import json
from dataclasses import dataclass


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
    """What intake is to answer; the items in alphabetical order, so that one order has one text."""
    return json.dumps({"name": name, "city": city, "items": sorted(items)})


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
            "Hello, I am Anna. Please send a rug and a lamp to Oslo.",
            order_text("Anna", "Oslo", "rug", "lamp"),
        ),
        (
            "Dear shop, please send a clock and a vase to my home in Paris. I used to live in Rome. Best wishes, Peter",
            order_text("Peter", "Paris", "clock", "vase"),
        ),
        (
            "Hi, Laura here from Vienna. I would like a towel and a drum. My brother in Milan told me about your shop.",
            order_text("Laura", "Vienna", "towel", "drum"),
        ),
        (
            "Good morning, I want to order a kite and a chair. My name is Tom and I live in Dublin.",
            order_text("Tom", "Dublin", "kite", "chair"),
        ),
        (
            "I need a basket and a tray. The address is in Berlin. Last year I was still in Athens. Thank you, Nina",
            order_text("Nina", "Berlin", "basket", "tray"),
        ),
        (
            "Please deliver a mirror with a broom to Prague. My sister in Warsaw is happy with hers. Regards, Victor",
            order_text("Victor", "Prague", "mirror", "broom"),
        ),
    ),
)

TONE = Prompt(
    "Say whether the customer's remark is good or bad for the shop.",
    (
        ("The last cup was perfect, thank you.", "good"),
        ("The last cup arrived broken.", "bad"),
        ("You sent me the wrong bench twice.", "bad"),
        ("I love the piano I bought from you.", "good"),
        ("Your service is excellent.", "good"),
        ("This is the worst shop I know.", "bad"),
        ("The desk arrived early and in good order.", "good"),
        ("Nobody answered my letters.", "bad"),
    ),
)

SHIPPING = Prompt(
    "Read the dispatch sheet and say the colour of the van that takes the parcels.",
    (
        ("Parcels to Oslo go in a red van.", "red"),
        ("Letters to Rome go in a green bag. Parcels to Rome go in a blue van.", "blue"),
        ("The white van takes the parcels to Madrid.", "white"),
        ("Parcels for Lisbon travel in the green van. Letters to Lisbon go in a white bag.", "green"),
        ("Letters for Paris are kept in the red bag. The white van takes the parcels to Paris.", "white"),
        ("Parcels for Milan travel in the blue van.", "blue"),
    ),
)

SUBTOTAL = Prompt(
    "Add up the two prices.",
    (
        (priced("lamp", 5, "rug", 7), summed(5, 7)),
        (priced("clock", 7, "vase", 4), summed(7, 4)),
        (priced("chair", 3, "kite", 3), summed(3, 3)),
        (priced("tray", 2, "kettle", 6), summed(2, 6)),
    ),
)

TOTAL = Prompt(
    "Add the delivery fee to the price of the goods.",
    (
        (charged(11, 4), summed(11, 4)),
        (charged(6, 3), summed(6, 3)),
        (charged(13, 1), summed(13, 1)),
        (charged(9, 2), summed(9, 2)),
    ),
)

COMPOSE = Prompt(
    "Write the reply to the customer.",
    (
        (facts("Anna", "red", 13), reply("Anna", "red", 13)),
        (facts("Peter", "green", 15), reply("Peter", "green", 15)),
    ),
)
