"""What a verifier is given: one node's output, where it came from, and a metered way to ask models about it."""

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from sherlock.cases import opened
from sherlock.errors import ModelError, VerifierError
from sherlock.lens import category_of, read_text
from sherlock.messages import read_messages
from sherlock.models.client import Completion, complete
from sherlock.usage import NO_USAGE, Usage

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

    from sherlock.models.prices import Prices
    from sherlock.models.structured import Schema

Message = Mapping[str, Any]
Prompt = str | Sequence[Message]
Resampler = Callable[["Subject", int, float], Awaitable[str]]
T = TypeVar("T")

_NOT_GIVEN: Any = object()
_ARGUMENTS = (
    *("node", "task", "prompt", "inputs", "text", "output", "category", "seed"),
    *("model", "settings", "base_url", "effects", "resampler", "prices"),
)
_SYSTEM = ("system", "developer")
_SEEDS = 2**30


class Subject:
    """One output of one node, to be verified.

    `task` is the system text of the node's first model call (default: of `prompt`), `prompt` the messages of its last
    one, `inputs` the state that the node read, `output` its raw update (default: `text`), `text` the text of that
    (default: as the lens reads it), `category` the kind of the text (default: as the lens tells it), and `seed` what
    makes a verifier repeatable. `model` is the node's own model, served at `base_url` where its name does not say; None
    for a node that asks none. `settings` are the parameters of the node's last call: `stop`, `max_tokens`.

    `effects` is what the node does to the world; `resampler(subject, seed, temperature)` executes the node once more
    and returns its text, charging the subject for it; `prices` turns tokens into dollars. `usage` is what was spent
    through this subject so far, calls that failed or were cancelled included.
    """

    def __init__(
        self,
        node: str = "",
        task: str | None = None,
        prompt: Sequence[Message] = (),
        inputs: Any = None,
        text: str | None = None,
        output: Any = _NOT_GIVEN,
        category: str | None = None,
        seed: int = 0,
        *,
        model: "str | BaseChatModel | None" = None,
        settings: Mapping[str, Any] | None = None,
        base_url: str | None = None,
        effects: str = "none",
        resampler: Resampler | None = None,
        prices: "Prices | None" = None,
    ) -> None:
        self.node = node
        self.prompt: tuple[Message, ...] = tuple(map(_plain, prompt))
        self.task = _system_text(self.prompt) if task is None else task
        self.inputs = inputs
        self.output = (text or "") if output is _NOT_GIVEN else output
        self.text = read_text(self.output) if text is None else text
        if not isinstance(self.text, str):
            raise VerifierError(f"the text of a subject is {text!r:.60}: give a str, or the update as `output`")
        self.category = category or category_of(self.text, self.output, self.task)
        self.seed = seed
        self.model = model
        self.settings: Mapping[str, Any] = dict(settings or {})
        self.base_url = base_url
        self.effects = effects
        self.resampler = resampler
        self.prices = prices
        self.usage: Usage = NO_USAGE
        self._payer: Subject | None = None
        self._drawn = 0

    def __repr__(self) -> str:
        return f"Subject(node={self.node!r}, category={self.category!r}, text={self.text[:60]!r})"

    @property
    def question(self) -> str:
        """The text of the prompt's last user message; "" without one."""
        users = [message for message in self.prompt if message.get("role") in ("user", "human")]
        return message_text(users[-1]) if users else ""

    async def complete(
        self,
        prompt: Prompt,
        *,
        model: "str | BaseChatModel | None" = None,
        schema: "Schema | None" = None,
        temperature: float = 0.0,
        max_tokens: int | None = None,
        seed: int | None = None,
        stop: str | Sequence[str] | None = None,
    ) -> Completion:
        """Ask `model` (default: the node's own) and add what it cost to `usage`.

        The seed is the subject's unless one is given. Raises `ModelError` when the model cannot be asked.
        """
        return await self._ask(prompt, model, schema, temperature, max_tokens, seed, stop)

    async def resample(self, n: int, *, temperature: float = 0.7) -> list[str]:
        """`n` more answers of the node, each with a seed of its own, as texts in the order of their seeds.

        The node is executed again by the runtime's `resampler`; without one its last prompt is asked again, with the
        node's own model and parameters, and the answers are stripped of outer white space. Answers are asked for at
        once, but of the model `local` one by one: it gains nothing from company, and would not repeat itself.
        Raises `VerifierError` for a node with effects, or one that asked no model.
        """
        seeds = self._new_seeds(n)
        if self.model == "local":
            return [await self._again(seed, temperature) for seed in seeds]
        return await together([self._again(seed, temperature) for seed in seeds])

    def chains(self, n: int, *, temperature: float = 0.7) -> list[AsyncGenerator[str]]:
        """`resample`, but each answer as an iterator over its pieces as they come.

        Nothing is asked before an iterator is begun; closing one (`aclose`) cancels its call and frees the model, and
        what had come by then is charged. A `resampler` does not stream: its whole text is one piece. Raises
        `VerifierError` as `resample` does.
        """
        return [_pieces(partial(self._again, seed, temperature)) for seed in self._new_seeds(n)]

    def charge(self, usage: Usage) -> None:
        """Add what was spent on this subject's verification."""
        self.usage += usage
        if self._payer is not None:
            self._payer.charge(usage)

    def part(self, label: str = "", **changes: Any) -> "Subject":
        """A copy with an account of its own, which is charged to this one too.

        With a `label` the copy has another seed; verifiers made of verifiers give each one its part. `changes` are
        constructor arguments.
        """
        given = {name: getattr(self, name) for name in _ARGUMENTS}
        if label:
            given["seed"] = _hashed(f"{self.seed}/{label}")
        copy = Subject(**{**given, **changes})
        copy._payer = self
        return copy

    def _new_seeds(self, n: int) -> list[int]:
        if self.effects != "none":
            raise VerifierError(
                f"the node {self.node!r} has effects ({self.effects}), so it cannot be resampled: "
                "use a verifier that does not ask the node again"
            )
        if n < 1:
            raise VerifierError(f"{n} resamples were asked for: ask for at least 1")
        if self.resampler is None and not self.prompt:
            raise VerifierError(
                f"the node {self.node!r} asked no model, so it cannot be resampled: use another verifier"
            )
        first = _hashed(f"{self.seed}/{self.node}") + self._drawn
        self._drawn += n
        return [(first + k) % _SEEDS + 1 for k in range(n)]

    async def _again(self, seed: int, temperature: float, on_text: Callable[[str], None] | None = None) -> str:
        if self.resampler is not None:
            return await self.resampler(self, seed, temperature)
        own = {key: self.settings[key] for key in ("max_tokens", "stop") if key in self.settings}
        answer = await self._ask(self.prompt, None, None, temperature, seed=seed, on_text=on_text, **own)
        return answer.text.strip()

    async def _ask(
        self,
        prompt: Prompt,
        model: "str | BaseChatModel | None",
        schema: "Schema | None",
        temperature: float,
        max_tokens: int | None = None,
        seed: int | None = None,
        stop: str | Sequence[str] | None = None,
        on_text: Callable[[str], None] | None = None,
    ) -> Completion:
        asked = self.model if model is None else model
        if asked is None:
            raise ModelError(f"the node {self.node!r} asks no model of its own: name one in the verifier's settings")
        return await complete(
            prompt,
            model=asked,
            schema=schema,
            temperature=temperature,
            max_tokens=max_tokens,
            seed=self.seed % _SEEDS if seed is None else seed,
            stop=stop,
            base_url=self._address(model),
            prices=self.prices,
            on_text=on_text,
            on_usage=self.charge,
        )

    def _address(self, model: "str | BaseChatModel | None") -> str | None:
        """The node's own server answers for the node's model, and for names that say no provider."""
        own = model is None or model == self.model or (isinstance(model, str) and "/" not in model and model != "local")
        return self.base_url if own else None


async def together(work: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    """The results of all, run at once; when one raises, or this is cancelled, the others are ended and waited for."""
    tasks = [asyncio.ensure_future(each) for each in work]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def message_text(message: Message) -> str:
    """The text of one message."""
    text = read_messages(dict(message))
    return text if isinstance(text, str) else ""


async def _pieces(ask: Callable[..., Coroutine[Any, Any, str]]) -> AsyncGenerator[str]:
    queue: asyncio.Queue[str | None] = asyncio.Queue()
    seen = False
    task = asyncio.ensure_future(ask(on_text=queue.put_nowait))
    task.add_done_callback(lambda _: queue.put_nowait(None))
    try:
        while (piece := await queue.get()) is not None:
            seen = True
            yield piece
        whole = await task
        if not seen and whole:
            yield whole
    finally:
        task.cancel()
        with contextlib.suppress(Exception):
            await asyncio.wait([task])
        if not task.cancelled():
            task.exception()  # else Python reports that nobody looked at it


def _plain(message: Any) -> Message:
    """A message of any form as role and content."""
    if isinstance(message, tuple) and len(message) == 2:
        message = {"role": message[0], "content": message[1]}
    plain = opened(message)
    if not isinstance(plain, Mapping) or "role" not in plain:
        raise VerifierError(f"a message of a subject's prompt is {message!r:.60}: give mappings with role and content")
    return dict(plain)


def _system_text(prompt: Sequence[Message]) -> str:
    texts = []
    for message in prompt:
        if message.get("role") not in _SYSTEM:
            break
        texts.append(message_text(message))
    return "\n".join(texts)


def _hashed(label: str) -> int:
    return int.from_bytes(hashlib.sha256(label.encode()).digest()[:4]) % _SEEDS
