"""The words and phrasings that cases are made of, apart for development (`train`) and measurement
(`heldout`).
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Vocabulary:
    """One split's words. The fields of `orders` are {name}, {city}, {a}, {b}; of `asides`, {other}; of `vans`
    and `bags`, {city} and {colour}; of `praise` and `complaints`, {thing}, something bought before."""

    names: tuple[str, ...]
    cities: tuple[str, ...]
    items: tuple[str, ...]
    orders: tuple[str, ...]
    asides: tuple[str, ...]
    vans: tuple[str, ...]
    bags: tuple[str, ...]
    things: tuple[str, ...]
    praise: tuple[str, ...]
    complaints: tuple[str, ...]


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


TRAIN = Vocabulary(
    names=_words(
        "Anna Peter Laura Tom Helen Mark Julia Simon Clara Paul Nina George "
        "Emma Victor Sarah Daniel Alice Robert Irene Martin Carol Felix Diana Oscar"
    ),
    cities=_words(
        "London Paris Rome Berlin Madrid Vienna Oslo Dublin Prague Lisbon Athens Warsaw Geneva Milan Munich Brussels"
    ),
    items=_words(
        "basket blanket broom bucket candle chair clock curtain drum hammer helmet kettle "
        "kite ladder lamp mirror pillow rug teapot towel tray vase whistle wreath"
    ),
    orders=(
        "Hello, I am {name}. Please send {a} and {b} to {city}.",
        "Hi, {name} here from {city}. I would like {a} and {b}.",
        "This is {name}. Could you ship {a} and {b} to me in {city}?",
        "Good morning, I want to order {a} and {b}. My name is {name} and I live in {city}.",
        "Dear shop, please send {a} and {b} to my home in {city}. Best wishes, {name}",
        "I need {a} and also {b}. The address is in {city}. Thank you, {name}",
        "Please deliver {a} together with {b} to {city}. Regards, {name}",
        "My name is {name}. I should like {a} and {b}, for delivery in {city}.",
    ),
    asides=(
        "I used to live in {other}.",
        "Last year I was still in {other}.",
        "My brother in {other} told me about your shop.",
        "My sister in {other} is happy with hers.",
    ),
    vans=(
        "Parcels to {city} go in a {colour} van.",
        "Parcels for {city} travel in the {colour} van.",
        "The {colour} van takes the parcels to {city}.",
    ),
    bags=(
        "Letters to {city} go in a {colour} bag.",
        "Letters for {city} are kept in the {colour} bag.",
    ),
    things=_words("bed bench cabinet clarinet cup desk freezer piano"),
    praise=(
        "The last {thing} was perfect, thank you.",
        "I love the {thing} I bought from you.",
        "Your service is excellent.",
        "The {thing} arrived early and in good order.",
        "You have the best shop in town.",
        "My family was delighted with the {thing}.",
        "I am very happy with your prices.",
        "The {thing} is even better than I had hoped.",
        "It is a joy to buy from you.",
        "Your staff were so friendly.",
    ),
    complaints=(
        "The last {thing} arrived broken.",
        "I am very unhappy with your service.",
        "You sent me the wrong {thing} twice.",
        "Nobody answered my letters.",
        "The {thing} came three weeks late.",
        "This is the worst shop I know.",
        "My family was disappointed with the {thing}.",
        "Your prices are a bad joke.",
        "The quality of the {thing} is terrible.",
        "Your staff were rude to me.",
    ),
)

HELDOUT = Vocabulary(
    names=_words(
        "Maria John Sofia David Lucy Henry Rosa Adam Eva Frank Grace Hugo "
        "Vera Leo Marta Bruno Ella Karl Olga Ian Teresa Walter Ruth Max"
    ),
    cities=_words(
        "Turin Lyon Porto Bergen Krakow Seville Hamburg Zurich Glasgow Bologna Antwerp Tallinn Riga Utrecht Ghent Malmo"
    ),
    items=_words(
        "backpack bell belt bowl comb cushion doormat globe hat jug lantern mug "
        "notebook pan puzzle ruler saw scarf shelf spoon stool umbrella wallet zither"
    ),
    orders=(
        "Good day! {name} is my name, and I'd love to have {a} and {b} sent to {city}.",
        "Hey there, can I get {a} and {b}? I'm in {city}. Cheers, {name}",
        "Dear Sir or Madam, kindly post {a} as well as {b} to {city}. Yours, {name}",
        "I'm {name}, writing from {city}. My order is {a} plus {b}.",
        "Would you mail me {a}, and {b} too? It all goes to {city}. Kind regards, {name}",
        "{name} speaking. Put {a} and {b} on my bill and bring them to {city}.",
        "Order for {name} in {city}: {a}, {b}.",
        "Greetings from {city}! For my new flat I need {a} and {b}. Sincerely, {name}",
        "Hi! It's {name} again. This time I want {a} with {b}, sent to {city}.",
        "We are moving house in {city} and are short of {a} and {b}. Many thanks, {name}",
    ),
    asides=(
        "My old address in {other} is no longer valid.",
        "A friend in {other} recommended you.",
        "I have just moved away from {other}.",
        "Next month I shall be on holiday in {other}.",
        "My parents in {other} shop with you as well.",
    ),
    vans=(
        "For {city}, parcels leave by the {colour} van.",
        "Put all parcels for {city} into the {colour} van.",
        "{city} parcels: {colour} van.",
        "Anyone with a parcel for {city} hands it to the {colour} van.",
    ),
    bags=(
        "For {city}, letters leave in the {colour} bag.",
        "Put all letters for {city} into the {colour} bag.",
        "{city} letters: {colour} bag.",
    ),
    things=_words("armchair bicycle bookcase carpet guitar sofa table toaster"),
    praise=(
        "What a wonderful shop you run!",
        "The {thing} I had from you is lovely.",
        "Your driver was kind and came on time.",
        "I tell all my neighbours how good you are.",
        "The {thing} is just what I wanted.",
        "You solved my problem with the {thing} within an hour, bravo.",
        "The {thing} looks beautiful in our living room.",
        "Thanks for the nice little gift that came with the {thing}.",
        "I have never had a better {thing}.",
        "Ten out of ten for the {thing}.",
    ),
    complaints=(
        "What a dreadful shop you run!",
        "The {thing} I had from you is full of scratches.",
        "Your driver shouted at me and came late.",
        "I tell all my neighbours to stay away from you.",
        "The {thing} fell apart after a day.",
        "I am still waiting for my money back for the {thing}.",
        "The box with the {thing} was torn and half of it was missing.",
        "Your hotline is useless.",
        "I have never had such an ugly {thing}.",
        "Zero out of ten for the {thing}.",
    ),
)

SPLITS = {"train": TRAIN, "heldout": HELDOUT}
