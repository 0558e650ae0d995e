"""The share of one stage: its tensors in the files of a folder, and the requests that read them.

Where the tensors' digests are known, each tensor is a part that is verified on its own, and only its bytes are read.
Else the files that hold the stage's tensors are read whole and verified as files; their header is then a part too, so
that what was planned from an earlier read of it is what was verified.
"""

from collections.abc import Mapping, Set
from dataclasses import dataclass

from llama_serving.common.foreign_json import parse_foreign_json
from llama_serving.weights.model.errors import shown, shown_list
from llama_serving.weights.model.safetensors import Tensor
from llama_serving.weights.staging.decide.errors import digest_differs, weights_unreadable
from llama_serving.weights.staging.decide.expected import CONFIG, ExpectedFiles, stage_tensors
from llama_serving.weights.staging.decide.partition import LayerPartition, is_needed
from llama_serving.weights.staging.decide.ranges import (
    HEADER,
    WHOLE,
    FilePart,
    ReadRequest,
    read_parts,
    read_whole_file,
)

DoneParts = Set[tuple[str, str]]  # (file, tensor); (file, WHOLE) for a file that is wanted as it is


@dataclass(frozen=True)
class VerifiedHeader:
    """The header of a safetensors file, as it was read."""

    length: int  # bytes, the eight of its own length included
    sha256: str
    tensors: Mapping[str, Tensor]


@dataclass(frozen=True)
class StageShare:
    """What one stage needs of one folder."""

    partition: LayerPartition
    expected: ExpectedFiles
    headers: Mapping[str, VerifiedHeader]  # of the files below
    tensors: Mapping[str, Mapping[str, Tensor]]  # file -> those that the stage needs

    @property
    def needed_bytes(self) -> int:
        """Bytes of the small files and of the stage's tensors."""
        return sum(file.size for file in self.expected.small) + sum(
            part.size for file in self.tensors for part in self.parts(file)
        )

    def parts(self, file: str) -> list[FilePart]:
        """Return the stage's tensors in ``file``, by their offsets in it."""
        start = self.headers[file].length
        digests = self.expected.tensors.get(file, {})
        return [
            FilePart(start + tensor.begin, start + tensor.end, name, digests.get(name, ""))
            for name, tensor in self.tensors[file].items()
        ]

    def bytes_left(self, done: DoneParts) -> int:
        """Return the bytes of what is not done."""
        small = sum(file.size for file in self.expected.small if (file.path, WHOLE) not in done)
        return small + sum(
            part.size for file in self.tensors for part in self.parts(file) if (file, part.tensor) not in done
        )

    def read_requests(self, done: DoneParts, *, ranged: bool) -> tuple[ReadRequest, ...]:
        """Return the requests for what is not done, small files first."""
        small = [
            read_whole_file(file.path, size=file.size, sha256="", parts=[FilePart(0, file.size, WHOLE, file.sha256)])
            for file in self.expected.small
            if (file.path, WHOLE) not in done
        ]
        if self.expected.whole:
            return (*small, *self._whole_files(done))
        wanted = {file: [part for part in self.parts(file) if (file, part.tensor) not in done] for file in self.tensors}
        return (*small, *read_parts(wanted, ranged=ranged))

    def _whole_files(self, done: DoneParts) -> list[ReadRequest]:
        return [
            read_whole_file(
                file,
                size=self.expected.sizes[file],
                sha256=self.expected.whole[file],
                parts=[FilePart(0, self.headers[file].length, HEADER, self.headers[file].sha256), *self.parts(file)],
            )
            for file in self.tensors
            if any((file, tensor) not in done for tensor in self.tensors[file])
        ]


def adapter_partition(layers: int, *, stage: int, stages: int) -> LayerPartition:
    """Return the partition of an adapter's matrices; all of them on each stage where ``layers`` is 0, not known."""
    if layers < stages:
        return LayerPartition(0, 0, 1, tied=False)
    return LayerPartition(layers, stage, stages, tied=False)


def layer_partition(config: bytes, *, stage: int, stages: int) -> LayerPartition:
    """Return the partition by the text of config.json. Raises StagingRefused when it does not name its layers."""
    try:
        values = parse_foreign_json(config)
        layers, tied = values["num_hidden_layers"], values.get("tie_word_embeddings", False)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise weights_unreadable(f"{CONFIG} does not say num_hidden_layers ({shown(error)})") from error
    if type(layers) is not int or layers < stages:
        raise weights_unreadable(f"{CONFIG} has num_hidden_layers {shown(layers)}, too few for {stages} stages")
    return LayerPartition(layers, stage, stages, tied=tied is True)


def candidate_files(expected: ExpectedFiles, partition: LayerPartition, *, index: bytes | None) -> tuple[str, ...]:
    """Return the files that may hold tensors of the stage, as far as is known before their headers are read."""
    if expected.every_file:
        return tuple(expected.sizes)
    if expected.tensors:
        return tuple(stage_tensors(expected.tensors, partition))
    if index is None:
        return tuple(expected.sizes)
    try:
        weight_map: dict[str, str] = parse_foreign_json(index)["weight_map"]
        files = {file for tensor, file in weight_map.items() if is_needed(tensor, partition)}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise weights_unreadable(f"the index of the tensors cannot be read: {shown(error)}") from error
    if absent := files - set(expected.sizes):
        raise digest_differs(f"the index names {shown_list(sorted(absent))}, which the manifest does not have")
    return tuple(sorted(files))


def stage_share(
    expected: ExpectedFiles, partition: LayerPartition, headers: Mapping[str, VerifiedHeader]
) -> StageShare:
    """Return the stage's share. Raises StagingRefused when a header differs from that of the manifest."""
    for file, header in headers.items():
        if sentence := header_mismatch(expected, file, header):
            raise digest_differs(sentence)
    tensors = {
        file: {name: tensor for name, tensor in header.tensors.items() if is_needed(name, partition)}
        for file, header in sorted(headers.items())
    }
    kept = {file: mine for file, mine in tensors.items() if mine or expected.every_file}
    return StageShare(partition, expected, headers, kept)


def header_mismatch(expected: ExpectedFiles, file: str, header: VerifiedHeader) -> str:
    """Return how a header differs from the one that the manifest was made from; empty where it does not."""
    digest = expected.headers.get(file)
    if digest is not None and digest != header.sha256:
        return f"the header of {file} has sha256 {header.sha256}, the manifest says {digest}"
    names = expected.tensors.get(file)
    if names is not None and set(names) != set(header.tensors):
        other = shown_list(sorted(set(names) ^ set(header.tensors)))
        return f"{file} and the manifest do not name the same tensors: {other}"
    return ""
