"""Every clean run and every trial, kept in SQLite as it ends, so that an interrupted analysis goes on where it was.

A row is keyed by all that its result depends on: the code of the nodes, the scorer, the case, the configuration, the
place of the injection and the corrupted text itself. What was computed once is read back and never computed again.
"""

import json
import logging
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.store.base import PutOp

from sherlock.analysis.executions import CleanRun, Execution, Line, Start
from sherlock.analysis.faithful import frozen, is_faithful, thawed
from sherlock.cases import Case
from sherlock.errors import StoreError
from sherlock.graph import WorkflowGraph, difference
from sherlock.interpose.calls import Message, ModelCall
from sherlock.interpose.nodes import Address
from sherlock.usage import Energy, Usage

FORMAT = "1"

log = logging.getLogger("sherlock")


class Store:
    """The results of one workflow's trials. `path` None: nothing is kept.

    Raises:
        StoreError: the file cannot be opened, is no store, has another format, or belongs to another graph.
    """

    def __init__(self, path: str | Path | None, workflow: WorkflowGraph) -> None:
        self.path = path
        try:
            if path is not None:
                Path(path).parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(path or ":memory:", check_same_thread=False, isolation_level=None, timeout=30)
            self._db.execute("pragma journal_mode=wal")
            self._db.execute("pragma synchronous=normal")
            self._db.execute("create table if not exists about (name text primary key, value text) without rowid")
            self._db.execute(
                "create table if not exists results (key text primary key, kind text, type text, value blob)"
            )
        except (OSError, sqlite3.Error) as error:
            raise StoreError(f"cannot use {str(path)!r} as a store ({error}); choose another path") from error
        self._serde = JsonPlusSerializer(pickle_fallback=False, allowed_msgpack_modules=True)
        self._check(workflow)

    def close(self) -> None:
        self._db.close()

    def forget(self, key_prefix: str) -> int:
        """Drop every result whose key begins with `key_prefix`; return how many there were."""
        return self._db.execute("delete from results where key glob ?", (key_prefix + "*",)).rowcount

    def clean(self, key: str, case: Case) -> CleanRun | None:
        """The recorded clean run of `case`, or None."""
        data = self._get(key)
        return None if data is None else _clean_of(data, case)

    def put_clean(self, key: str, run: CleanRun) -> None:
        """Keep a clean run. One whose state cannot be serialised is not kept, and is run again on resume."""
        data = _clean_data(run)
        if not self._put(key, "clean", data, check=True):
            log.warning(
                "the state of case %r cannot be serialised, so its clean run is not kept and will run again on resume",
                run.case.id,
            )

    def line(self, key: str) -> Line | None:
        """The recorded outcome of a replay, or None."""
        data = self._get(key)
        return None if data is None else _line_of(data)

    def put_line(self, key: str, line: Line, kind: str) -> None:
        """Keep the outcome of a replay; one whose executions cannot be serialised is made again on resume."""
        self._put(key, kind, _line_data(line), check=bool(line.executions))

    def value(self, key: str) -> Any:
        """Any other recorded result, or None."""
        return self._get(key)

    def put_value(self, key: str, kind: str, data: Any) -> None:
        """Keep a result; one that cannot be serialised is made again on resume."""
        self._put(key, kind, data, check=True)

    def _get(self, key: str) -> Any:
        row = self._db.execute("select type, value from results where key = ?", (key,)).fetchone()
        return None if row is None else thawed(self._serde.loads_typed(row))

    def _put(self, key: str, kind: str, data: Any, *, check: bool) -> bool:
        if self.path is None:
            return True
        try:
            stored = self._serde.dumps_typed(frozen(data))
            faithful = not check or is_faithful(thawed(self._serde.loads_typed(stored)), data)
        except Exception:  # noqa: BLE001  (any object of the user's may refuse)
            return False
        if faithful:
            self._db.execute("insert or replace into results values (?, ?, ?, ?)", (key, kind, *stored))
        return faithful

    def _check(self, workflow: WorkflowGraph) -> None:
        about = dict(self._db.execute("select name, value from about").fetchall())
        if not about:
            rows = {"format": FORMAT, "fingerprint": workflow.fingerprint, "graph": json.dumps(workflow.describe())}
            self._db.executemany("insert or ignore into about values (?, ?)", rows.items())
            return
        if about.get("format") != FORMAT:
            raise StoreError(
                f"the store {str(self.path)!r} has format {about.get('format')}, not {FORMAT}; use a new path"
            )
        if about["fingerprint"] != workflow.fingerprint:
            theirs = WorkflowGraph.from_description(json.loads(about["graph"]))
            raise StoreError(
                f"the store {str(self.path)!r} belongs to another graph ({difference(theirs, workflow)}); "
                "use a new path, or delete it"
            )


_PLAIN = ("text", "score", "error", "masked", "unanswered", "node_executions", "same_path")


def _clean_data(run: CleanRun) -> dict[str, Any]:
    return {
        **_line_data(run),
        "starts": [
            [step, *(getattr(start, f.name) for f in fields(start))] for step, start in sorted(run.starts.items())
        ],
        "writes": _writes_data(run.writes),
        "recursion_limit": run.recursion_limit,
    }


def _clean_of(data: Mapping[str, Any], case: Case) -> CleanRun:
    run = CleanRun(case=case, writes=_writes_of(data["writes"]), recursion_limit=data["recursion_limit"])
    _fill(run, data)
    run.starts = {step: Start(*rest) for step, *rest in data["starts"]}
    return run


def _line_data(line: Line) -> dict[str, Any]:
    """All of a line but its output, of which the text is enough."""
    return {
        **{name: getattr(line, name) for name in _PLAIN},
        "executions": [_execution_data(execution) for execution in line.executions.values()],
        "states": list(line.states.items()),
        "usage": asdict(line.usage),
        "spent": asdict(line.spent),
        "evidence": line.evidence,
        "visited": [_address_data(address) for address in sorted(line.visited)],
        "shared": sorted(line.shared),
        "live": sorted(line.live),
    }


def _line_of(data: Mapping[str, Any]) -> Line:
    line = Line()
    _fill(line, data)
    return line


def _fill(line: Line, data: Mapping[str, Any]) -> None:
    line.executions = {e.address: e for e in map(_execution_of, data["executions"])}
    line.states = dict(data["states"])
    line.usage, line.spent = _usage_of(data["usage"]), _usage_of(data["spent"])
    line.evidence = [(node, agreed) for node, agreed in data["evidence"]]
    line.visited = {_address_of(address) for address in data["visited"]}
    line.shared, line.live = set(data["shared"]), set(data["live"])
    for name in _PLAIN:
        setattr(line, name, data[name])


def _execution_data(execution: Execution) -> dict[str, Any]:
    return {
        **{f.name: getattr(execution, f.name) for f in fields(execution)},
        "address": _address_data(execution.address),
        "calls": [{**asdict(call), "usage": asdict(call.usage)} for call in execution.calls],
        "answers": list(execution.answers),
        "writes": _writes_data(execution.writes),
    }


def _execution_of(data: Mapping[str, Any]) -> Execution:
    return Execution(
        **{
            **data,
            "address": _address_of(data["address"]),
            "calls": tuple(_call_of(call) for call in data["calls"]),
            "answers": tuple(data["answers"]),
            "writes": tuple(_writes_of(data["writes"])),
        }
    )


def _address_data(address: Address) -> list[list[Any]]:
    return [list(level) for level in address]


def _address_of(data: Sequence[Sequence[Any]]) -> Address:
    return tuple((step, name, index) for step, name, index in data)


def _writes_data(writes: Iterable[PutOp]) -> list[list[Any]]:
    return [[list(op.namespace), op.key, op.value, op.index, op.ttl] for op in writes]


def _writes_of(data: Iterable[Sequence[Any]]) -> list[PutOp]:
    return [PutOp(tuple(namespace), *rest) for namespace, *rest in data]


def _call_of(data: Mapping[str, Any]) -> ModelCall:
    texts = {name: tuple(Message(**m) for m in data[name]) for name in ("messages", "sent")}
    return ModelCall(**{**data, **texts, "usage": _usage_of(data["usage"])})


def _usage_of(data: Mapping[str, Any]) -> Usage:
    return Usage(**{**data, "wh": Energy(**data["wh"]) if data["wh"] else None})
