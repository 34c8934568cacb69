"""Several answers drawn at once and streamed; near copies and what can no longer matter are ended."""

import asyncio
import re
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sherlock.verifier import together

if TYPE_CHECKING:
    from sherlock_verifiers.embedders import Embedder

_BREAK = re.compile(r"\n+")
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_SHORTEST_THOUGHT = 20
_LEFT = 2

Settled = Callable[[list["Chain"]], bool]


class Chain:
    """One answer as it comes.

    `text` is what came so far, `thoughts` the complete ones in it; `ended` by itself, or `pruned`.
    """

    def __init__(self, index: int, pieces: AsyncGenerator[str]) -> None:
        self.index = index
        self.text = ""
        self.thoughts: list[str] = []
        self.ended = False
        self.pruned = False
        self._pieces = pieces
        self._count = 0

    @property
    def streamed(self) -> bool:
        """Whether it came in more than one piece."""
        return self._count > 1

    def _cut(self) -> list[str]:
        """The complete thoughts: what stands between line breaks, short lines joined to the next."""
        parts = _BREAK.split(self.text)
        found: list[str] = []
        for part in parts if self.ended else parts[:-1]:
            if found and len(found[-1]) < _SHORTEST_THOUGHT:
                found[-1] = f"{found[-1]} {part}".strip()
            elif part.strip():
                found.append(part.strip())
        # A short last line may still be joined to what comes next.
        return found if self.ended or not found or len(found[-1]) >= _SHORTEST_THOUGHT else found[:-1]

    async def read(self, thoughts: int | None = None) -> None:
        """Read on until there are that many complete thoughts, or to the end."""
        while not self.ended and (thoughts is None or len(self.thoughts) < thoughts):
            piece = await anext(self._pieces, None)
            self.ended = piece is None
            if piece is not None:
                self.text += piece
                self._count += 1
            if piece is None or "\n" in piece:
                self.thoughts = self._cut()

    async def close(self) -> None:
        """End its call, if that still runs, and wait until it has ended."""
        await self._pieces.aclose()


async def plain(chains: list[Chain], settled: Settled, *, one_by_one: bool) -> list[Chain]:
    """Read the chains to their ends, in order, until the vote is settled; those that count.

    One that has ended by chance but comes after the last that was needed does not count.
    """
    tasks = [] if one_by_one else [asyncio.ensure_future(chain.read()) for chain in chains]
    counted: list[Chain] = []
    try:
        for chain in chains:
            await (chain.read() if one_by_one else tasks[chain.index])
            counted.append(chain)
            if settled(counted):
                break
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return counted


async def slimmed(chains: list[Chain], settled: Settled, embedder: "Embedder", free_thoughts: int) -> list[Chain]:
    """Read the chains thought by thought, in step, and end each that repeats a thought of an earlier one.

    In step, so that which chains are ended follows from what they say and not from which came first. All count.
    """
    thoughts: dict[int, list[Thought]] = {chain.index: [] for chain in chains}
    step = 0
    while (going := [chain for chain in chains if not chain.ended and not chain.pruned]) and not settled(chains):
        step += 1
        await together([chain.read(step) for chain in going])
        thinking = [chain for chain in going if len(chain.thoughts) >= step]
        if step <= free_thoughts or not thinking:
            continue
        texts = [chain.thoughts[step - 1] for chain in thinking]
        for chain, text, vector in zip(thinking, texts, await embedder(texts), strict=True):
            thoughts[chain.index].append(Thought.of(text, vector))
        for chain in thinking:
            await _prune(chain, chains, thoughts, embedder)
    return chains


@dataclass(frozen=True, slots=True)
class Thought:
    """Its numbers and its vector: to an embedder, the same step with another result is nearly the same text."""

    numbers: Counter[str]
    vector: list[float]

    @classmethod
    def of(cls, text: str, vector: list[float]) -> "Thought":
        return cls(Counter(_NUMBER.findall(text)), vector)

    def repeats(self, other: "Thought", embedder: "Embedder") -> bool:
        return self.numbers == other.numbers and embedder.alike(self.vector, other.vector)


async def _prune(chain: Chain, chains: list[Chain], thoughts: dict[int, list[Thought]], embedder: "Embedder") -> None:
    """End the chain if its last thought is an earlier chain's, and enough others are left."""
    left = [other for other in chains if not other.pruned]
    earlier = [thought for other in left if other.index < chain.index for thought in thoughts[other.index]]
    last = thoughts[chain.index][-1]
    if chain.ended or len(left) <= _LEFT or not any(last.repeats(thought, embedder) for thought in earlier):
        return
    chain.pruned = True
    await chain.close()
