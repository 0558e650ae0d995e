"""The ledger: what ended is added up per key and model, and becomes rows that are kept in bounds."""

import csv
import io
import json
from collections import deque
from collections.abc import Iterable
from itertools import islice
from typing import Final

from llama_serving.config.access.ledger import FIELDS, MOST_BYTES, LedgerRow
from llama_serving.gateway.access.pure.usage import Usage

#: Bytes that a row takes in memory beside its text.
OVERHEAD: Final = 128
#: Pairs of key and model that are told apart within a period; the rest is booked under no model.
MOST_PAIRS: Final = 8192


class Period:
    """What has ended since the last rows were made."""

    def __init__(self) -> None:
        self._sums: dict[tuple[str, str], list[int]] = {}

    def add(self, key: str, model: str, usage: Usage) -> None:
        """Book one request."""
        sums = self._sums.get((key, model))
        if sums is None:
            if len(self._sums) >= MOST_PAIRS:
                model = ""
            sums = self._sums.setdefault((key, model), [0, 0, 0, 0, 0])
        sums[0] += 1
        sums[1] += usage.prompt_tokens
        sums[2] += usage.cached_tokens
        sums[3] += usage.answer_tokens
        sums[4] += usage.estimated

    def close(self, *, last: int, time: float, gateway: str) -> list[LedgerRow]:
        """Return the rows, numbered after ``last``, and begin anew."""
        sums, self._sums = self._sums, {}
        rows = []
        for seq, ((key, model), (requests, prompt, cached, answer, estimated)) in enumerate(sums.items(), last + 1):
            row = LedgerRow(
                seq=seq,
                time=round(time, 3),
                gateway=gateway,
                key=key,
                model=model,
                requests=requests,
                prompt_tokens=prompt,
                cached_tokens=cached,
                answer_tokens=answer,
                estimated=estimated,
            )
            rows.append(row)
        return rows


class Kept:
    """The newest rows, at most ``most`` bytes of memory; ``last`` is the number of the newest one ever, 0 before it."""

    def __init__(self, most: int = MOST_BYTES) -> None:
        self.last = 0
        self._most = most
        self._bytes = 0
        self._lines: deque[tuple[int, bytes]] = deque()

    @property
    def first(self) -> int:
        """Number of the oldest row that is kept; of the next one where none is."""
        return self._lines[0][0] if self._lines else self.last + 1

    def add(self, seq: int, line: bytes) -> None:
        """Keep a row; the oldest make room."""
        self._lines.append((seq, line))
        self.last = seq
        self._bytes += len(line) + OVERHEAD
        while self._bytes > self._most:
            _, dropped = self._lines.popleft()
            self._bytes -= len(dropped) + OVERHEAD

    def after(self, seq: int, *, most: int) -> list[bytes]:
        """Return up to ``most`` rows whose number is larger than ``seq``, oldest first, each as a line of JSON."""
        skip = max(seq + 1 - self.first, 0)  # rows are numbered without a gap
        return [line for _, line in islice(self._lines, skip, skip + most)]


def line_of(row: LedgerRow) -> bytes:
    """Return a row as a line of JSON."""
    return json.dumps(row.model_dump(), separators=(",", ":")).encode() + b"\n"


def read_line(line: bytes) -> LedgerRow | None:
    """Return the row in a line; None where it is torn."""
    if not line.endswith(b"\n"):
        return None
    try:
        return LedgerRow.model_validate_json(line)
    except ValueError:
        return None


def as_csv(lines: Iterable[bytes]) -> bytes:
    """Return rows as CSV with a head; a text that a spreadsheet would take for a formula gets an apostrophe."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(FIELDS)
    for line in lines:
        row = json.loads(line)
        writer.writerow([_plain(row[name]) for name in FIELDS])
    return text.getvalue().encode()


def _plain(value: object) -> object:
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") else value
