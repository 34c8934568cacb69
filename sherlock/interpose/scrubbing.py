"""Takes secrets out of what is recorded: keys, tokens and passwords in request and answer bodies."""

import re
from collections.abc import Mapping
from typing import Any

SCRUBBED = "[secret]"

_CERTAIN = re.compile(
    r"\bsk-[A-Za-z0-9_\-]{12,}"
    r"|\b(?:gh[pousr]_|github_pat_|glpat-|hf_|xox[abprs]-|npm_|pypi-)[A-Za-z0-9_\-]{16,}"
    r"|\bA(?:KIA|SIA)[0-9A-Z]{16}\b"
    r"|\bAIza[0-9A-Za-z_\-]{30,}"
    r"|\beyJ[\w\-]{8,}\.[\w\-]{8,}\.[\w\-]{8,}"
    r"|(?<=\bBearer )[A-Za-z0-9._~+/\-]{8,}=*"
)
_LIKELY = re.compile(
    r"((?:api[_-]?key|authorization|password|passwd|client[_-]?secret|access[_-]?token)\\?[\"']?\s*[:=]\s*\\?[\"']?)"
    r"([^\s\"'\\,}{\[\]]{6,})",
    re.IGNORECASE,
)
_FIELD = re.compile(
    r"(?:x-)?api[_-]?key|authorization|password|passwd|client[_-]?secret|access[_-]?token|secret", re.IGNORECASE
)
# A prompt is long and holds no secret: looking for these first takes a tenth of the time.
_CERTAIN_HINTS = (
    *("sk-", "ghp", "gho", "ghu", "ghs", "ghr", "github_pat", "glpat", "hf_", "xox", "npm_", "pypi-"),
    *("AKIA", "ASIA", "AIza", "eyJ", "Bearer"),
)
_LIKELY_HINTS = ("key", "authorization", "passw", "secret", "token")


def scrub(value: Any) -> Any:
    """JSON data without anything that looks like a secret: what is written to a recording."""
    return _scrubbed(value, likely=True)


def scrub_certain(value: Any) -> Any:
    """JSON data without what is a secret for certain: for keys, which must not run different requests together."""
    return _scrubbed(value, likely=False)


def _scrubbed(value: Any, *, likely: bool) -> Any:
    if isinstance(value, str):
        return _scrubbed_text(value, likely=likely)
    if isinstance(value, Mapping):
        return {
            key: SCRUBBED if isinstance(item, str) and _FIELD.fullmatch(key) else _scrubbed(item, likely=likely)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [_scrubbed(item, likely=likely) for item in value]
    return value


def _scrubbed_text(text: str, *, likely: bool) -> str:
    if any(hint in text for hint in _CERTAIN_HINTS):
        text = _CERTAIN.sub(SCRUBBED, text)
    if likely:
        lower = text.lower()
        if any(hint in lower for hint in _LIKELY_HINTS):
            text = _LIKELY.sub(rf"\1{SCRUBBED}", text)
    return text
