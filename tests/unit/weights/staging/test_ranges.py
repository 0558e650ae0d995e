"""Requests cover the wanted parts exactly, read little more, and are neither too many nor too long."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llama_serving.weights.staging.decide.ranges import (
    GAP_DIVISOR,
    MAX_GAP,
    MAX_REQUEST,
    FilePart,
    ReadRequest,
    read_part_again,
    read_parts,
    read_whole_file,
)

MB = 1 << 20


def parts(*spans: tuple[int, int]) -> list[FilePart]:
    return [FilePart(begin, end, f"t{begin}-{end}", "d") for begin, end in spans]


def spans(reads: tuple[ReadRequest, ...]) -> list[tuple[int, int]]:
    return [(read.begin, read.end) for read in reads]


@pytest.mark.parametrize(
    ("wanted", "requests"),
    [
        ([], []),
        ([(100, 200)], [(100, 200)]),
        ([(100, 200), (200, 300)], [(100, 300)]),
        # A gap of a tenth of what is wanted is not read over, one of a hundredth is.
        ([(0, 100), (120, 220)], [(0, 100), (120, 220)]),
        ([(0, 1000), (1010, 2000)], [(0, 2000)]),
        # The smallest gaps first; the next one would be too much in all.
        ([(0, 1000), (1010, 2000), (2060, 3000)], [(0, 2000), (2060, 3000)]),
        # Gaps of one length are all read over, or none.
        ([(0, 1000), (1025, 2000), (2025, 3000), (3025, 3100)], [(0, 1000), (1025, 2000), (2025, 3000), (3025, 3100)]),
        # Never more than MAX_GAP, however much is wanted.
        ([(0, 40 * MB), (41 * MB + 1, 60 * MB)], [(0, 40 * MB), (41 * MB + 1, 60 * MB)]),
        ([(0, 60 * MB), (61 * MB, 63 * MB)], [(0, 63 * MB)]),
        # What is long is cut between parts; one part is never cut.
        ([(0, 40 * MB), (40 * MB, 80 * MB)], [(0, 40 * MB), (40 * MB, 80 * MB)]),
        ([(0, 200 * MB)], [(0, 200 * MB)]),
    ],
)
def test_ranges(wanted: list[tuple[int, int]], requests: list[tuple[int, int]]) -> None:
    assert spans(read_parts({"f": parts(*wanted)}, ranged=True)) == requests


def test_a_source_without_ranges_is_read_from_its_start_to_the_last_part() -> None:
    wanted = {"f": parts((500, 600), (100, 200)), "g": []}
    assert spans(read_parts(wanted, ranged=False)) == [(0, 600)]


def test_a_damaged_part_is_asked_for_alone() -> None:
    read = read_parts({"f": parts((0, 100), (100, 200))}, ranged=True)[0]
    assert read_part_again(read, read.parts[1]) == ReadRequest("f", 100, 200, (read.parts[1],))


def test_a_whole_file_is_one_request() -> None:
    read = read_whole_file("f", size=300, sha256="x", parts=parts((200, 300), (0, 50)))
    assert (read.begin, read.end, [part.begin for part in read.parts]) == (0, 300, [0, 200])


@st.composite
def files(draw: st.DrawFn) -> dict[str, list[FilePart]]:
    wanted: dict[str, list[FilePart]] = {}
    for file in draw(st.sets(st.sampled_from("abc"))):
        end, spans_of_file = 0, []
        for _ in range(draw(st.integers(1, 12))):
            begin = end + draw(st.sampled_from([0, 0, 1, 100, 5000, MAX_GAP, MAX_GAP + 1]))
            end = begin + draw(st.sampled_from([0, 1, 1000, 3 * MB, 50 * MB, MAX_REQUEST + 1]))
            spans_of_file.append((begin, end))
        wanted[file] = draw(st.permutations(parts(*spans_of_file)))
    return wanted


@settings(deadline=None)  # a busy machine is no error
@given(files())
def test_requests_hold_every_part_once_and_little_else(wanted: dict[str, list[FilePart]]) -> None:
    reads = read_parts(wanted, ranged=True)
    for file, mine in wanted.items():
        requested = [read for read in reads if read.file == file]
        assert [part for read in requested for part in read.parts] == sorted(mine)
        assert all(before.end <= after.begin for before, after in pairwise(requested))
    for read in reads:
        assert (read.begin, read.end) == (read.parts[0].begin, read.parts[-1].end)
        assert read.end - read.begin <= MAX_REQUEST or len([part for part in read.parts if part.size]) == 1
    needed = sum(part.size for mine in wanted.values() for part in mine)
    assert sum(read.end - read.begin for read in reads) <= needed + needed // GAP_DIVISOR
