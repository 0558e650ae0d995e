"""The share of one stage: its tensors in the files of a place, and the requests that bring them.

Where the tensors' digests are known, each tensor is a part that is verified on its own, and only its bytes are read.
Else the files that hold the stage's tensors are read whole and verified as files; their header is then a part too, so
that what was planned from an earlier read of it is what was verified.
"""

import json
from collections.abc import Mapping, Set
from dataclasses import dataclass

from llama_serving.weights.model.errors import shown, shown_list
from llama_serving.weights.model.safetensors import Tensor
from llama_serving.weights.staging.decide.errors import differs, unreadable
from llama_serving.weights.staging.decide.expected import CONFIG, Expected, of_stage
from llama_serving.weights.staging.decide.partition import Cut, needs
from llama_serving.weights.staging.decide.ranges import HEADER, WHOLE, Part, Read, of_file, of_parts

Done = Set[tuple[str, str]]  # (file, tensor); (file, WHOLE) for a file that is wanted as it is


@dataclass(frozen=True)
class Head:
    """The header of a safetensors file."""

    length: int  # bytes, the eight of its own length included
    sha256: str
    tensors: Mapping[str, Tensor]


@dataclass(frozen=True)
class Share:
    """What one stage needs of one place."""

    cut: Cut
    expected: Expected
    heads: Mapping[str, Head]  # of the files below
    tensors: Mapping[str, Mapping[str, Tensor]]  # file -> those that the stage needs; no file without any

    @property
    def needed(self) -> int:
        """Bytes of the small files and of the stage's tensors."""
        return sum(file.size for file in self.expected.small) + sum(
            part.size for file in self.tensors for part in self.parts(file)
        )

    def parts(self, file: str) -> list[Part]:
        """The stage's tensors in ``file``, by their place in it."""
        start = self.heads[file].length
        digests = self.expected.tensors.get(file, {})
        return [
            Part(start + tensor.begin, start + tensor.end, name, digests.get(name, ""))
            for name, tensor in self.tensors[file].items()
        ]

    def left(self, done: Done) -> int:
        """Bytes of what is not done."""
        small = sum(file.size for file in self.expected.small if (file.path, WHOLE) not in done)
        return small + sum(
            part.size for file in self.tensors for part in self.parts(file) if (file, part.tensor) not in done
        )

    def reads(self, done: Done, *, ranged: bool) -> tuple[Read, ...]:
        """The requests for what is not done, small files first."""
        small = [
            of_file(file.path, size=file.size, sha256="", parts=[Part(0, file.size, WHOLE, file.sha256)])
            for file in self.expected.small
            if (file.path, WHOLE) not in done
        ]
        if self.expected.whole:
            return (*small, *self._whole_files(done))
        wanted = {file: [part for part in self.parts(file) if (file, part.tensor) not in done] for file in self.tensors}
        return (*small, *of_parts(wanted, ranged=ranged))

    def _whole_files(self, done: Done) -> list[Read]:
        return [
            of_file(
                file,
                size=self.expected.sizes[file],
                sha256=self.expected.whole[file],
                parts=[Part(0, self.heads[file].length, HEADER, self.heads[file].sha256), *self.parts(file)],
            )
            for file in self.tensors
            if any((file, tensor) not in done for tensor in self.tensors[file])
        ]


def cut_of(config: bytes, *, stage: int, stages: int) -> Cut:
    """The cut of the model whose config.json this is. Raises Refused when it does not say how many layers it has."""
    try:
        values = json.loads(config)
        layers, tied = values["num_hidden_layers"], values.get("tie_word_embeddings", False)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise unreadable(f"{CONFIG} does not say num_hidden_layers ({shown(error)})") from error
    if type(layers) is not int or layers < stages:
        raise unreadable(f"{CONFIG} has num_hidden_layers {shown(layers)}, too few for {stages} stages")
    return Cut(layers, stage, stages, tied=tied is True)


def files_of(expected: Expected, cut: Cut, *, index: bytes | None) -> tuple[str, ...]:
    """Files that may hold tensors of the stage, as far as it is known before their headers are read."""
    if expected.tensors:
        return tuple(of_stage(expected.tensors, cut))
    if index is None:
        return tuple(expected.sizes)
    try:
        weight_map: dict[str, str] = json.loads(index)["weight_map"]
        files = {file for tensor, file in weight_map.items() if needs(tensor, cut)}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise unreadable(f"the index of the tensors cannot be read: {shown(error)}") from error
    if absent := files - set(expected.sizes):
        raise differs(f"the index names {shown_list(sorted(absent))}, which the manifest does not have")
    return tuple(sorted(files))


def share_of(expected: Expected, cut: Cut, heads: Mapping[str, Head]) -> Share:
    """The stage's share. Raises Refused when a header is not the one that the manifest was made from."""
    for file, head in heads.items():
        if sentence := complaint(expected, file, head):
            raise differs(sentence)
    tensors = {
        file: {name: tensor for name, tensor in head.tensors.items() if needs(name, cut)}
        for file, head in sorted(heads.items())
    }
    return Share(cut, expected, heads, {file: mine for file, mine in tensors.items() if mine})


def complaint(expected: Expected, file: str, head: Head) -> str:
    """How a header differs from that which the manifest was made from; empty where it does not."""
    digest = expected.headers.get(file)
    if digest is not None and digest != head.sha256:
        return f"the header of {file} has sha256 {head.sha256}, the manifest says {digest}"
    names = expected.tensors.get(file)
    if names is not None and set(names) != set(head.tensors):
        other = shown_list(sorted(set(names) ^ set(head.tensors)))
        return f"{file} and the manifest do not name the same tensors: {other}"
    return ""
