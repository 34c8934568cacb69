"""A model as yes/no judge, for the verifier `check`: what it does not believe is asked for again.

It stands beside the exact checks to be compared with them. It is shown solved examples, half of them wrong, and the
answer under test as a JSON string.
"""

import json
from typing import Any

from prompts import Prompt, charged, priced, summed


def claimed(question: str, answer: str) -> str:
    return f"{question} The clerk says: {json.dumps(answer)}. Is the clerk right?"


SUMS = Prompt(
    "Say whether the clerk adds up rightly: yes or no.",
    (
        (claimed(priced("lamp", 5, "rug", 7), summed(5, 7)), "yes"),
        (claimed(priced("clock", 7, "vase", 4), "7 + 4 = 12"), "no"),
        (claimed(charged(11, 4), "11 + 4 = 13"), "no"),
        (claimed(priced("chair", 3, "kite", 3), summed(3, 3)), "yes"),
        (claimed(charged(6, 3), summed(6, 3)), "yes"),
        (claimed(priced("tray", 2, "kettle", 6), "2 + 5 = 7"), "no"),
        (claimed(charged(13, 1), "13 + 1 = 15"), "no"),
        (claimed(charged(9, 2), summed(9, 2)), "yes"),
    ),
)

VANS = Prompt(
    "Say whether the clerk names the van that takes the parcels: yes or no.",
    (
        (claimed("Parcels to Naples go in a red van.", "red"), "yes"),
        (claimed("Letters to Basel go in a green bag. Parcels to Basel go in a blue van.", "green"), "no"),
        (claimed("The white van takes the parcels to Nice.", "blue"), "no"),
        (claimed("Parcels for Graz travel in the green van. Letters to Graz go in a white bag.", "green"), "yes"),
        (
            claimed("Letters for Leeds are kept in the red bag. The white van takes the parcels to Leeds.", "white"),
            "yes",
        ),
        (claimed("Parcels for Delft travel in the blue van.", "white"), "no"),
        (claimed("The red van takes the parcels to Bilbao. Letters to Bilbao go in a blue bag.", "blue"), "no"),
        (claimed("Parcels to Odense go in a green van.", "green"), "yes"),
    ),
)

ASKED = {"subtotal": SUMS, "work_total": SUMS, "shipping": VANS}


async def says_yes(text: str, subject: Any) -> bool:
    """Whether the model, shown the question and the answer, says that the answer is right."""
    question = claimed(subject.question, text)
    completion = await subject.complete(ASKED[subject.node].messages(question), max_tokens=2, stop=["\n"])
    return bool(completion.text.strip() == "yes")
