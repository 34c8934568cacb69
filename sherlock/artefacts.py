"""What every artefact has in common: frozen data with a kind and a schema version, written whole or not at all.

Reading one runs no code.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, PlainSerializer, ValidationError

from sherlock.errors import ArtefactError
from sherlock.usage import Usage

_VERBS = {"analysis": "analyze", "calibration": "calibrate", "validation": "validate"}


class Model(BaseModel):
    """Frozen data with no unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")


def read_artefact(path: str | Path, *, kind: str | None = None, version: int | None = None) -> Mapping[str, Any]:
    """Read the JSON object in `path`, of a kind and schema version if they are given.

    Raises:
        ArtefactError: it cannot be read, is no JSON object, or is of another kind or version.
    """
    try:
        data = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ArtefactError(f"cannot read {str(path)!r}: {error.strerror}; check the path") from error
    except ValueError as error:
        raise ArtefactError(
            f"{str(path)!r} is not JSON ({error}); it may have been cut short, so make it again"
        ) from error
    if not isinstance(data, dict):
        raise ArtefactError(f"{str(path)!r} holds no JSON object; it is no artefact of Sherlock")
    if kind is not None and data.get("kind") != kind:
        verb = _VERBS.get(kind, kind)
        raise ArtefactError(f"{str(path)!r} holds {data.get('kind')!r}, no {kind}; make one with `sherlock {verb}`")
    if version is not None and data.get("schema_version") != version:
        raise ArtefactError(
            f"{str(path)!r} has schema version {data.get('schema_version')!r}, this library reads {version}; "
            "install the version of sherlock-langgraph that wrote it, or make it again"
        )
    return data


def write_artefact(path: str | Path, text: str) -> None:
    """Write a file that is whole or not there: it is renamed into place.

    Raises:
        ArtefactError: it cannot be written there.
    """
    target = Path(path)
    scratch = target.with_name(f".{target.name}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        scratch.write_text(text + "\n", encoding="utf-8", errors="backslashreplace")  # half an emoji is not UTF-8
        scratch.replace(target)
    except OSError as error:
        raise ArtefactError(f"cannot write {str(target)!r}: {error.strerror}; choose another path") from error


def to_json(artefact: BaseModel) -> str:
    """An artefact as JSON text, keys sorted."""
    return json.dumps(artefact.model_dump(mode="json"), indent=1, sort_keys=True, ensure_ascii=False)


def damaged(path: str | Path, error: ValidationError) -> ArtefactError:
    """The error for a file whose content does not fit the schema."""
    first = error.errors()[0]
    place = ".".join(map(str, first["loc"]))
    return ArtefactError(f"{str(path)!r} is damaged at {place}: {first['msg']}; make it again")


def _without_seconds(usage: Usage) -> dict[str, Any]:
    return {name: getattr(usage, name) for name in Usage.__slots__ if name != "seconds"}


TimelessUsage = Annotated[Usage, PlainSerializer(_without_seconds)]
