"""What a client has received of an answer, and where another engine can resume it.

An engine sends a token's id with the text that became complete by it. Between the two it may hold back

- the bytes of an unfinished character, until the token that completes it: text grows by whole characters only;
- with stop strings, the last ``held_back`` characters, since they could begin one.

So after an event with text the answer decoded so far has ``characters sent + held_back`` characters. Another engine can
resume after a token that ended a character: given a prompt that ends within one, it sends the whole prompt's text as
new. Such a place is a resume point. It is certain

- after an event with one token and some text: that token completed a character;
- after an event with several tokens, if the next character is ASCII: it has no bytes of earlier tokens.

``resume`` takes the last certain resume point within what the client has. The tokens after it are generated again.
Those that the client already has are compared and left out. If they differ (sampling, or other numerics on the other
group) the attempt fails: a stream never mixes two different answers.
"""

from array import array
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from llama_serving.gateway.continuation.pure.chunk import Chunk, ChunkError, OtherFieldError, other_fields

_IDENTITY = ("id", "object", "created", "model")


@dataclass(frozen=True, slots=True)
class ResumePoint:
    """A place between two tokens, after ``tokens`` tokens of the answer, decoded to ``characters`` characters."""

    tokens: int
    characters: int
    certain: bool


@dataclass(slots=True)
class Transcript:
    """One answer so far, of one engine or of several.

    ``ids`` are its tokens. ``identity`` are the fields that all its events share. ``counted``: the client has received
    the event that counts tokens. ``shows_ids``: the client sees token ids, so these must not differ either.
    """

    held_back: int
    shows_ids: bool = False
    # Four bytes per token: as objects the prompts of all streams of a group would fill the container.
    prompt: "array[int]" = field(default_factory=lambda: array("I"))
    ids: "array[int]" = field(default_factory=lambda: array("I"))
    identity: Mapping[str, Any] = field(default_factory=dict)
    finish: str | None = None
    counted: bool = False
    _pieces: list[str] = field(default_factory=list)
    _length: int = 0  # characters that the client has
    _points: list[ResumePoint] = field(default_factory=lambda: [ResumePoint(0, 0, certain=True)])
    _base: ResumePoint = ResumePoint(0, 0, certain=True)  # where the present engine began
    _sent: int = 0  # characters that it has sent
    _known_text: str = ""  # what the client already had behind the base
    _seen_ids: "array[int]" = field(default_factory=lambda: array("I"))

    @property
    def text(self) -> str:
        """What the client has of the answer."""
        self._pieces = ["".join(self._pieces)]
        return self._pieces[0]

    def take(self, chunk: Chunk) -> tuple[str, tuple[int, ...]]:
        """Add an event of the present engine; return its text and tokens that the client does not have yet.

        Raises ChunkError when the event differs from what the client already has.
        """
        if fields := other_fields(chunk.delta):
            raise OtherFieldError(f"its stream has the field {fields[0]!r}")
        text, ids = self._new(chunk)
        self._sent += len(chunk.text)
        self._length += len(text)
        self._pieces.append(text)
        self.ids.extend(chunk.ids)
        self.prompt = self.prompt or array("I", chunk.prompt)
        self.finish = chunk.finish or self.finish
        self.counted = self.counted or chunk.is_count
        self.identity = self.identity or {name: chunk.body[name] for name in _IDENTITY if name in chunk.body}
        if chunk.text:
            characters = self._base.characters + self._sent + self.held_back
            self._points.append(ResumePoint(len(self.ids), characters, certain=len(chunk.ids) == 1))
        return text, ids

    def resume(self) -> int:
        """Go back to the last resume point; return the number of tokens that another engine continues after."""
        text = self.text
        point = self._last_point(text)
        self._points = [point]  # what the client has only grows, so an earlier one is never the last again
        self._base, self._sent = point, 0
        self._known_text = text[point.characters :]
        del self.ids[point.tokens :]
        return point.tokens

    def _new(self, chunk: Chunk) -> tuple[str, tuple[int, ...]]:
        known = self._known_text[self._sent : self._sent + len(chunk.text)]
        if not chunk.text.startswith(known):
            raise ChunkError(f"its text differs from the answer at character {self._base.characters + self._sent}")
        end = self._base.characters + self._sent + len(chunk.text)
        if chunk.finish is not None and end < self._length:
            raise ChunkError(f"its answer ends at character {end} of {self._length}")
        ids = self._new_ids(chunk.ids) if self.shows_ids else ()
        return chunk.text[len(known) :], ids

    def _new_ids(self, ids: tuple[int, ...]) -> tuple[int, ...]:
        start = len(self.ids)
        known = self._seen_ids[start : start + len(ids)]
        if array("I", ids[: len(known)]) != known:
            raise ChunkError(f"its tokens differ from the answer at token {start}")
        self._seen_ids.extend(ids[len(known) :])
        return ids[len(known) :]

    def _last_point(self, text: str) -> ResumePoint:
        return next(
            point
            for point in reversed(self._points)  # the beginning is always one
            if point.characters <= len(text)
            and (point.certain or _is_ascii(text[point.characters : point.characters + 1]))
        )


def _is_ascii(character: str) -> bool:
    return character != "" and character.isascii()
