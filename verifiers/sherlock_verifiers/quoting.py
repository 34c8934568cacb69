"""Puts a text into a prompt as data, so that nothing in it can pass for a part of the prompt."""

import hashlib
import json
import re

# What servers may take for the start of a turn when it stands in a message: `<|im_start|>`, `</s>`, `[INST]`.
_CONTROL = re.compile(r"<(?=[|\uff5c]|/?\w+>)|\[(?=/?[A-Z]{3,}\])")
_LINE_ENDS = {"\x85": "\\u0085", "\u2028": "\\u2028", "\u2029": "\\u2029"}


def quoted(label: str, text: str, seed: int) -> str:
    """`text` as a JSON string on one line, between two marks that it cannot contain.

    The marks follow from the seed and the text, so that whoever wrote the text could not know them.
    """
    mark = _mark(text, seed)
    return f"<<{label} {mark}>>\n{_one_line(text)}\n<<end {mark}>>"


def _mark(text: str, seed: int) -> str:
    mark = hashlib.sha256(f"{seed}\n{text}".encode("utf-8", "surrogatepass")).hexdigest()[:12]
    while mark in text:
        mark = hashlib.sha256(mark.encode()).hexdigest()[:12]
    return mark


def _one_line(text: str) -> str:
    line = json.dumps(text, ensure_ascii=any("\ud800" <= letter <= "\udfff" for letter in text))
    for end, escape in _LINE_ENDS.items():
        line = line.replace(end, escape)
    return _CONTROL.sub(lambda match: f"\\u{ord(match[0]):04x}", line)
