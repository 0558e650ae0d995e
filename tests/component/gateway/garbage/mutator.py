"""Answers of an engine that is not well, by seed: each is a good answer, changed at one to three of its layers."""

import json
import random
import re
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.component.gateway.garbage.answers import SECOND, Asked, events, mark, whole

#: Of ten requests so many are answered as they should be.
GOOD_OF_TEN = 2
ENDS = ("keep", "keep", "keep", "keep", "close", "close", "reset", "hang")
_STATUS_LINES = [
    *(b"HTTP/1.1 %d Odd" % code for code in (99, 101, 102, 199, 204, 205, 206, 304, 400, 404, 409, 429, 500, 503, 999)),
    *(b"", b"HTTP/1.1 200", b"HTTP/1.1", b"HTTP/2 200 OK", b"HTTP/1.0 200 OK", b"HTTP/9.9 200 OK", b"200 OK"),
    *(b"SSH-2.0-OpenSSH_9.2", b"HTTP/1.1 abc OK", b"HTTP/1.1 99999 OK", b"HTTP/1.1 -200 OK", b"\xff" * 40, b"\x00"),
    *(b"HTTP/1.1 200 " + b"r" * 9000, b"HTTP/1.1 200 OK\x00\x01", b"GET / HTTP/1.1", b" HTTP/1.1 200 OK"),
]
_HEADERS = [
    *(b"content-length: %b" % value for value in (b"0", b"5", b"99999999999999999999", b"-1", b"+5", b"0x5", b"5, 5")),
    *(
        b"transfer-encoding: %b" % value
        for value in (b"chunked", b"gzip", b"chunked, chunked", b"identity", b"xchunked")
    ),
    *(b"connection: close", b"connection: upgrade\r\nupgrade: websocket", b"connection: keep-alive, x-llama-weights"),
    *(
        b"content-type: text/event-stream",
        b"content-type: application/json",
        b"content-type: text/html",
        b"content-type:",
    ),
    *(b"content-encoding: gzip", b"content-encoding: br", b"x-llama-weights: a\tb\xff", b"x-llama-adapter: other@1"),
    *(b"no colon", b": no name", b"bad name: x", b" folded: x", b"x: \x00", b"x: a\rb", b"\xff\xfe: \xff", b"x:\x7f"),
    *(b"x-big: " + b"a" * 9000, b"x-huge: " + b"a" * 400_000, b"\r\n".join(b"x-%d: 1" % n for n in range(200))),
    *(b"set-cookie: a=b", b"access-control-allow-origin: *", b"trailer: x", b"server: x", b"date: never"),
]
_PIECES = [
    *(
        b"\r\n",
        b"\n\n",
        b"\r\n\r\n",
        b"data: ",
        b"data: [DONE]\n\n",
        b"\x00",
        b"\xff\xfe",
        b"\xc3\x28",
        b"\\ud800",
        b"NaN",
    ),
    *(
        b"1e999",
        b"[" * 3000,
        b'{"a":' * 3000,
        b"{",
        b"]",
        b'"',
        b"0\r\n\r\n",
        b"FFFFFFFF\r\n",
        b"-1\r\n",
        b": comment\n\n",
    ),
    *(
        b"event: x\n",
        b"id: 7\n",
        b"data:\n\n",
        b"data: null\n\n",
        b"data: 7\n\n",
        b"data: {}\n\n",
        b'data: {"choices":[]}\n\n',
    ),
    *(b'data: {"error":{"code":500}}\n\n', b'data: {"error":{"code":400}}\n\n', b'data: {"error":"x"}\n\n'),
    *(b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.1 100 Continue\r\n\r\n"),
]
_MEMBERS = re.compile(
    rb'"(token_ids|prompt_token_ids|finish_reason|usage|choices|text|delta|content|id|created|index)":'
    rb'(\[[^\]]*\]|"[^"]*"|null|\d+|\{[^}]*\})'
)
_VALUES = [
    *(
        b"[-1]",
        b"[4294967296]",
        b'["a"]',
        b"[1.5]",
        b"[99999999999999999999999]",
        b"[true]",
        b"[[]]",
        b"null",
        b"{}",
        b"[]",
    ),
    *(b"7", b'"x"', b"1e999", b"NaN", b"-0", b'"abort"', b'"\\ud800"', b'"\\u0000"', b"[null]", b"[[]]", b'{"a":1}'),
    *(b'{"completion_tokens":"x"}', b'{"completion_tokens":-5}', b'{"tool_calls":7}', b'{"tool_calls":[{"id":7}]}'),
    *(b'{"content":5}', b'{"reasoning":["x"]}', b"[" + b"1," * 5000 + b"1]", b"[" * 3000 + b"]" * 3000),
]


@dataclass
class Answer:
    """An answer by its layers; ``length``: a content-length instead of chunks. ``end``: one of ENDS."""

    status: bytes
    headers: list[bytes]
    pieces: list[bytes]
    length: int | None
    interim: bytes = b""
    behind: bytes = b""
    end: str = "keep"
    edits: list[Callable[[bytes], bytes]] = field(default_factory=list)
    reframe: Callable[[bytes], bytes] | None = None

    def raw(self) -> bytes:
        """Return the bytes as they are sent."""
        headers = [
            *self.headers,
            b"transfer-encoding: chunked" if self.length is None else b"content-length: %d" % self.length,
        ]
        head = b"\r\n".join([self.status, *headers]) + b"\r\n\r\n"
        frame = self.reframe or (lambda piece: b"%x\r\n%b\r\n" % (len(piece), piece))
        chunked = b"".join(frame(piece) for piece in self.pieces if piece) + b"0\r\n\r\n"
        sent = self.interim + head + (chunked if self.length is None else b"".join(self.pieces)) + self.behind
        for edit in self.edits:
            sent = edit(sent)
        return sent


def good(asked: Asked) -> Answer:
    """Return the answer of an engine that is well."""
    if not asked.stream:
        body = whole(asked)
        return Answer(b"HTTP/1.1 200 OK", [b"content-type: application/json"], [body], len(body))
    headers = [b"content-type: text/event-stream; charset=utf-8", b"x-llama-weights: w"]
    return Answer(b"HTTP/1.1 200 OK", headers, events(asked), None)


def is_good(seed: int) -> bool:
    """Return whether every attempt of a request is answered as it should be."""
    return random.Random(seed).randrange(10) < GOOD_OF_TEN


def mutated(asked: Asked, attempt: int) -> Answer:
    """Return the answer to an attempt; most requests with garbage get a good answer in the end."""
    chance = random.Random(asked.seed * 1000 + attempt)
    answer = good(asked)
    if is_good(asked.seed) or (attempt > 0 and chance.random() < 0.4):
        return answer
    for change in chance.sample(_CHANGES, chance.choice([1, 1, 1, 2, 3])):
        change(chance, answer, asked)
    answer.end = chance.choice(ENDS)
    return answer


def _status(chance: random.Random, answer: Answer, _: Asked) -> None:
    answer.status = chance.choice(_STATUS_LINES)


def _headers(chance: random.Random, answer: Answer, _: Asked) -> None:
    for _n in range(chance.choice([1, 1, 2])):
        answer.headers.insert(chance.randrange(len(answer.headers) + 1), chance.choice(_HEADERS))
    if chance.random() < 0.2:
        del answer.headers[chance.randrange(len(answer.headers))]


def _length(chance: random.Random, answer: Answer, _: Asked) -> None:
    size = sum(map(len, answer.pieces))
    answer.length = max(size + chance.choice([-size, -7, -1, 0, 1, 7, 1000, 2 << 20]), 0)


def _chunks(chance: random.Random, answer: Answer, _: Asked) -> None:
    answer.length = None
    wrong = chance.randrange(len(answer.pieces))
    forms = [
        b"%x;" + b"e" * 20_000 + b"\r\n%b\r\n",
        b"%X\n%b\n",
        b"0%x\r\n%b\r\n",
        b" %x\r\n%b\r\n",
        b"%x\r\n%b",
        b"%d\r\n%b\r\n",
    ]
    forms += [
        b"-%x\r\n%b\r\n",
        b"ffffffffffffffff%x\r\n%b\r\n",
        b"%x zz\r\n%b\r\n",
        b"1%x\r\n%b\r\n",
        b"\r\n%x\r\n%b\r\n",
    ]
    form, victim = chance.choice(forms), answer.pieces[wrong]
    answer.reframe = lambda piece: (form if piece is victim else b"%x\r\n%b\r\n") % (len(piece), piece)


def _events(chance: random.Random, answer: Answer, _: Asked) -> None:
    at = chance.randrange(len(answer.pieces))
    other = answer.pieces[chance.randrange(len(answer.pieces))]
    cut = chance.randrange(len(answer.pieces[at]) + 1)
    answer.pieces[at : at + 1] = chance.choice(
        [
            [],
            [answer.pieces[at], other],
            [other, answer.pieces[at]],
            [answer.pieces[at][:cut]],
            [answer.pieces[at][:cut], answer.pieces[at][cut:]],
            [chance.choice(_PIECES), answer.pieces[at]],
            [answer.pieces[at].replace(b"\n\n", b"\r\n\r\n")],
            [answer.pieces[at].replace(b"data: ", b"data:")],
            [answer.pieces[at].removesuffix(b"\n")],
        ]
    )
    answer.pieces = answer.pieces or [b" "]
    _fit(answer)


def _json(chance: random.Random, answer: Answer, _: Asked) -> None:
    at = chance.randrange(len(answer.pieces))
    members = list(_MEMBERS.finditer(answer.pieces[at]))
    if members:
        member = chance.choice(members)
        piece = answer.pieces[at]
        answer.pieces[at] = piece[: member.start(2)] + chance.choice(_VALUES) + piece[member.end(2) :]
    _fit(answer)


def _insert(chance: random.Random, answer: Answer, _: Asked) -> None:
    at = chance.randrange(len(answer.pieces))
    where = chance.randrange(len(answer.pieces[at]) + 1)
    answer.pieces[at] = answer.pieces[at][:where] + chance.choice(_PIECES) + answer.pieces[at][where:]
    _fit(answer)


def _endless(chance: random.Random, answer: Answer, _: Asked) -> None:
    line = chance.choice([b"data: " + b"a" * 60_000, b"a" * 60_000, b'data: {"a":"' + b"b" * 60_000])
    at = chance.randrange(len(answer.pieces) + 1)
    answer.pieces[at:at] = [line] * chance.choice([3, 40])
    _fit(answer)


def _interim(chance: random.Random, answer: Answer, _: Asked) -> None:
    head = chance.choice([b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n"])
    answer.interim = head * chance.choice([1, 2, 8, 9, 300, 5000])


def _behind(chance: random.Random, answer: Answer, asked: Asked) -> None:
    body = json.dumps({SECOND: mark(asked.seed)}).encode()
    second = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)
    answer.behind = chance.choice([second, second, second * 3, b"\r\n", b"x", second[:20], b"\x00" * 100])


def _bytes(chance: random.Random, answer: Answer, _: Asked) -> None:
    answer.edits.append(lambda sent: _edited(chance, sent))


def _edited(chance: random.Random, sent: bytes) -> bytes:
    at = chance.randrange(len(sent) + 1)
    end = min(len(sent), at + chance.choice([1, 1, 2, 5, 20, 100]))
    noise = bytes(chance.randrange(256) for _ in range(chance.randrange(1, 30)))
    return chance.choice(
        [
            sent[:at] + noise[:1] + sent[at + 1 :],
            sent[:at] + sent[end:],
            sent[:end] + sent[at:],
            sent[:at] + noise + sent[at:],
            sent[:at] + chance.choice(_PIECES) + sent[at:],
            sent[:at] + sent[at:end][::-1] + sent[end:],
            sent[:at],
        ]
    )


def _cut(chance: random.Random, answer: Answer, _: Asked) -> None:
    answer.edits.append(lambda sent: sent[: chance.randrange(len(sent) + 1)])


def _fit(answer: Answer) -> None:
    if answer.length is not None:
        answer.length = sum(map(len, answer.pieces))


_CHANGES = [
    _status,
    _headers,
    _length,
    _chunks,
    _events,
    _json,
    _json,
    _insert,
    _endless,
    _interim,
    _behind,
    _bytes,
    _cut,
]
