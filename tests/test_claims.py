"""What must be the same in two texts whose words are nearly the same: numbers, denials, words turned round."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sherlock.claims import figures, same_claims
from sherlock.equivalence import rouge_l, same_meaning

SAME = [
    ("The parcel goes in the red van on Monday.", "The parcel goes in the red van on Monday"),
    ("The parcel is not late and needs no refund.", "The parcel isn't late and needs no refund."),
    ("He cannot open it without a valid passport.", "He can\u2019t open it without a valid passport."),
    ("The customer will not be charged for the return.", "The customer won't be charged for the return."),
    ("There is no parcel for this address in the list.", "There isn't any parcel for this address in the list."),
    ("Deliver it at 5 pm on Tuesday to the front desk.", "Deliver it at 5pm on Tuesday to the front desk."),
    ("He asks for a refund of 20% of the price.", "He asks for a refund of 20 percent of the price."),
    ("The shipment weighs 5 kg and leaves at noon.", "The shipment weighs 5 kilograms and leaves at noon."),
    ("It was -5 °C in the store room.", "It was \N{MINUS SIGN}5°C in the store room."),
    ("The invoice is over €99.50, due in 30 days.", "The invoice is over 99.50 euros, due in 30 days."),
    ("The plan has two steps: book a van, call the driver.", "The plan has 2 steps: book a van, call the driver."),
    ("1. Look up the order. 2. Check the stock.", "1. Look up the order 2. Then check the stock"),
    ("We have 5 million euros for the whole year.", "We have five million euros for the whole year."),
]
OTHER = [
    ("The order has 3 items and is refunded today.", "The order has 4 items and is refunded today."),
    ("Please pay the supplier $90 for the parts by Friday.", "Please pay the supplier $900 for the parts by Friday."),
    ("Charge him $50 for the express delivery today.", "Charge him €50 for the express delivery today."),
    ("Deliver it at 5 am on Tuesday to the front desk.", "Deliver it at 5 pm on Tuesday to the front desk."),
    ("The box weighs 5 kg and fits in the small van.", "The box weighs 5 lb and fits in the small van."),
    ("It was -5 degrees in the store room last night.", "It was 5 degrees in the store room last night."),
    ("Growth was 0.5 percent over the last year.", "Growth was 5 percent over the last year."),
    ("Put 3 red and 5 blue boxes in the van before noon.", "Put 5 red and 3 blue boxes in the van before noon."),
    ("Send three vans to the depot in the morning.", "Send four vans to the depot in the morning."),
    ("The card ends in twenty five by the record here.", "The card ends in twenty six by the record here."),
    ("The parcel is late and the customer gets a refund.", "The parcel is not late and the customer gets a refund."),
    ("He is entitled to a refund under the policy.", "He isn't entitled to a refund under the policy."),
    ("Yes, the parcel may be sent to the new address.", "No, the parcel may be sent to the new address."),
    ("Never send the password to him in a plain mail.", "Always send the password to him in a plain mail."),
    ("A is not late and B is on time, so send a note.", "A is late and B is not on time, so send a note."),
    ("The passport is valid and the account is opened.", "The passport is invalid and the account is opened."),
]
UNSEEN = [
    ("The parcel goes in the red van on Monday.", "The parcel goes in the red van on Tuesday."),
    ("Accept the claim and tell the customer by mail.", "Reject the claim and tell the customer by mail."),
]


@pytest.mark.parametrize(("a", "b"), SAME)
def test_a_rewording_stands(a, b):
    assert same_meaning(a, b)
    assert same_meaning(b, a)


@pytest.mark.parametrize(("a", "b"), OTHER)
def test_a_change_of_one_word_that_counts_does_not_stand(a, b):
    assert rouge_l(a, b) >= 0.7
    assert not same_meaning(a, b)
    assert not same_meaning(b, a)


@pytest.mark.parametrize(("a", "b"), UNSEEN)
def test_what_is_not_seen_is_what_the_module_says(a, b):
    assert same_meaning(a, b)


def figure(value, *units):
    return (Decimal(value), frozenset(units))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", []),
        ("no one is here", []),
        ("1,200 of 12,00", [figure(1200), figure(12), figure(0)]),
        ("3-5 days, .5 h", [figure(3), figure(5, "day"), figure("0.5", "hour")]),
        ("-$5, $-5, USD 5, 5 dollars", [figure(-5, "dollar"), figure(-5, "dollar"), *[figure(5, "dollar")] * 2]),
        ("$5 million", [figure(5, "dollar", "million"), figure(10**6)]),
        ("at 5 p.m. on 2024-05-01", [figure(5, "pm"), figure(2024), figure(5), figure(1)]),
        ("2 per cent, 3%", [figure(2, "%"), figure(3, "%")]),
        ("H2O and 10 vans", [figure(2), figure(10)]),
        ("a 3-day trip", [figure(3, "day")]),
        ("\u0665 kg", [figure(5, "kg")]),
    ],
)
def test_figures_by_hand(text, found):
    assert list(figures(text)) == found


@given(st.text(), st.text())
def test_claims_are_symmetric_and_a_text_claims_what_it_claims(a, b):
    assert same_claims(a, a)
    assert same_claims(a, b) == same_claims(b, a)


@given(st.decimals(0, 10**9, places=2), st.decimals(0, 10**9, places=2))
def test_numbers_count_by_value(a, b):
    sentence = "pay {:,} dollars to the supplier"
    assert same_claims(sentence.format(a), sentence.replace(",", "").format(b)) == (a == b)
