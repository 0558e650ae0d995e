"""Makes empty stand-ins for the CUDA libraries that PyTorch's libraries name but a CPU never calls.

PyTorch publishes no CPU build under the version that vLLM needs on the index that the lock file uses, and its CUDA
build cannot be loaded without the libraries that it links: 2.7 GB of 5.6. They are linked for good ("bind now"), so
the loader wants each library and every function in it, and runs none of them. A stand-in has exactly the functions
that PyTorch's libraries ask of that library, with their versions; a call ends the process with SIGILL, so a mistake is
seen at once. `libcudart` and what it needs stay real: their functions do run, when the libraries are loaded and when
PyTorch asks for devices. Usage: python3 cuda_stubs.py SITE_PACKAGES.
"""

import struct
import sys
from dataclasses import dataclass, field
from pathlib import Path

# Numbers of the ELF format, named as in its specification.
SHT_DYNAMIC, SHT_DYNSYM, SHT_VERNEED, SHT_VERSYM = 6, 11, 0x6FFFFFFE, 0x6FFFFFFF
DT_NEEDED, DT_HASH, DT_STRTAB, DT_SYMTAB, DT_STRSZ, DT_SYMENT, DT_SONAME = 1, 4, 5, 6, 10, 11, 14
DT_VERSYM, DT_VERDEF, DT_VERDEFNUM = 0x6FFFFFF0, 0x6FFFFFFC, 0x6FFFFFFD
PT_LOAD, PT_DYNAMIC, PT_GNU_STACK = 1, 2, 0x6474E551
HEADER, PROGRAM_HEADER, PAGE = 64, 56, 0x1000
TRAP = b"\x0f\x0b"  # ud2

# Libraries of CUDA's tool kit; the driver (libcuda.so.1) is not one: PyTorch looks for it and must not find it.
PREFIXES = ("libcublas", "libcudnn", "libcufft", "libcurand", "libcusolver", "libcusparse", "libnccl", "libnvrtc")
NVSHMEM = "libnvshmem_host"


@dataclass
class Library:
    """What a shared library asks of others."""

    needed: set[str] = field(default_factory=set)
    # Undefined functions: (name, version), the version empty where none is asked for.
    undefined: set[tuple[str, str]] = field(default_factory=set)
    # Which library a version is asked of.
    versions: dict[str, str] = field(default_factory=dict)


def text_at(table: bytes, offset: int) -> str:
    """Return the zero-ended text at an offset of a string table."""
    return table[offset : table.index(b"\0", offset)].decode()


def read(path: Path) -> Library:
    """Read the dynamic symbols of a 64-bit little-endian ELF file."""
    data = path.read_bytes()
    start, size, count = struct.unpack_from("<Q", data, 40)[0], *struct.unpack_from("<HH", data, 58)
    sections = [struct.unpack_from("<IIQQQQIIQQ", data, start + size * i) for i in range(count)]
    by_type = {s[1]: s for s in sections}

    def body(section: tuple[int, ...]) -> bytes:
        return data[section[4] : section[4] + section[5]]

    library = Library()
    if SHT_DYNSYM not in by_type or SHT_DYNAMIC not in by_type:
        return library
    strings = body(sections[by_type[SHT_DYNSYM][6]])
    dynamic = struct.iter_unpack("<QQ", body(by_type[SHT_DYNAMIC]))
    library.needed = {text_at(strings, value) for tag, value in dynamic if tag == DT_NEEDED}
    versions = _versions_needed(body(by_type[SHT_VERNEED]), strings, library) if SHT_VERNEED in by_type else {}
    symbols = list(struct.iter_unpack("<IBBHQQ", body(by_type[SHT_DYNSYM])))
    indices = (
        struct.unpack(f"<{len(symbols)}H", body(by_type[SHT_VERSYM])) if SHT_VERSYM in by_type else [0] * len(symbols)
    )
    for symbol, index in zip(symbols, indices, strict=True):
        if symbol[3] == 0 and symbol[0]:
            library.undefined.add((text_at(strings, symbol[0]), versions.get(index, "")))
    return library


def _versions_needed(section: bytes, strings: bytes, library: Library) -> dict[int, str]:
    """Read the table of versions that a library asks for; returns them by their index."""
    found: dict[int, str] = {}
    offset = 0
    while True:
        _, count, file, aux, following = struct.unpack_from("<HHIII", section, offset)
        position = offset + aux
        for _ in range(count):
            _, _, index, name, next_aux = struct.unpack_from("<IHHII", section, position)
            found[index] = text_at(strings, name)
            library.versions[found[index]] = text_at(strings, file)
            position += next_aux
        if not following:
            return found
        offset += following


def sysv_hash(name: str) -> int:
    """Compute the hash of ELF's symbol tables."""
    value = 0
    for byte in name.encode():
        value = (value << 4) + byte
        high = value & 0xF0000000
        value = (value ^ (high >> 24)) & ~high & 0xFFFFFFFF
    return value


def stub(soname: str, symbols: list[str], version: str) -> bytes:
    """Return a library with this name whose functions all trap; `version` is empty where they have none."""
    strings, offsets = bytearray(b"\0"), {}
    for text in (soname, version, *symbols):
        offsets[text] = len(strings)
        strings += text.encode() + b"\0"
    code = HEADER + 4 * PROGRAM_HEADER
    table = bytearray(24)  # symbol 0 is undefined
    for name in symbols:
        table += struct.pack("<IBBHQQ", offsets[name], 0x12, 0, 1, code, len(TRAP))  # global function in "section" 1
    parts = {DT_HASH: _hash_table(symbols), DT_SYMTAB: bytes(table), DT_STRTAB: bytes(strings)}
    if version:
        parts[DT_VERSYM] = struct.pack(f"<{len(symbols) + 1}H", 0, *[2] * len(symbols))
        parts[DT_VERDEF] = _definitions(soname, version, offsets)
    body, places = bytearray(TRAP), {}
    for tag, part in parts.items():
        body += b"\0" * (-(code + len(body)) % 8)
        places[tag] = code + len(body)
        body += part
    entries = [(DT_SONAME, offsets[soname]), *places.items(), (DT_STRSZ, len(strings)), (DT_SYMENT, 24)]
    entries += [(DT_VERDEFNUM, 2)] if version else []
    dynamic = b"".join(struct.pack("<QQ", *entry) for entry in (*entries, (0, 0)))
    return _file(code + len(body), bytes(body), dynamic)


def _hash_table(symbols: list[str]) -> bytes:
    buckets, chains = [0] * max(1, len(symbols)), [0] * (len(symbols) + 1)
    for index, name in enumerate(symbols, start=1):
        bucket = sysv_hash(name) % len(buckets)
        chains[index], buckets[bucket] = buckets[bucket], index
    return struct.pack(f"<II{len(buckets)}I{len(chains)}I", len(buckets), len(chains), *buckets, *chains)


def _definitions(soname: str, version: str, offsets: dict[str, int]) -> bytes:
    """Return the table of defined versions: the library's own name (base), then the one of its functions."""
    base = struct.pack("<HHHHIII", 1, 1, 1, 1, sysv_hash(soname), 20, 28) + struct.pack("<II", offsets[soname], 0)
    return (
        base + struct.pack("<HHHHIII", 1, 0, 2, 1, sysv_hash(version), 20, 0) + struct.pack("<II", offsets[version], 0)
    )


def _file(end: int, body: bytes, dynamic: bytes) -> bytes:
    """Put the file together: header, program headers, contents, and the dynamic table on a page that may be written."""
    place = -(-end // PAGE) * PAGE
    identity = b"\x7fELF\x02\x01\x01" + bytes(9)
    header = identity + struct.pack("<HHIQQQIHHHHHH", 3, 62, 1, 0, HEADER, 0, 0, HEADER, PROGRAM_HEADER, 4, 64, 0, 0)
    size = len(dynamic)
    programs = (
        struct.pack("<IIQQQQQQ", PT_LOAD, 5, 0, 0, 0, end, end, PAGE)
        + struct.pack("<IIQQQQQQ", PT_LOAD, 6, place, place, place, size, size, PAGE)
        + struct.pack("<IIQQQQQQ", PT_DYNAMIC, 6, place, place, place, size, size, 8)
        + struct.pack("<IIQQQQQQ", PT_GNU_STACK, 6, 0, 0, 0, 0, 0, 16)
    )
    return (header + programs + body).ljust(place, b"\0") + dynamic


def stubs(libraries: list[Library], *, present: set[str]) -> dict[str, bytes]:
    """Return the stand-ins that these libraries need, by name; what is present is not replaced."""
    needed = set().union(*(library.needed for library in libraries)) - present
    wanted = {name for name in needed if name.startswith((*PREFIXES, NVSHMEM))}
    owners = {version: name for library in libraries for version, name in library.versions.items()}
    undefined = set().union(*(library.undefined for library in libraries))
    plain = sorted(name for name, version in undefined if not version and name.startswith(("cu", "nccl", "nvrtc")))
    found = {}
    for soname in sorted(wanted):
        versions = {version for version, name in owners.items() if name == soname}
        if len(versions) > 1:
            raise SystemExit(
                f"{soname} is asked for with several versions ({', '.join(sorted(versions))}): not foreseen"
            )
        version = next(iter(versions), "")
        names = sorted(name for name, asked in undefined if asked == version) if version else plain
        found[soname] = stub(soname, names, version)
    return found


def main(site_packages: Path) -> None:
    """Write the stand-ins beside PyTorch's libraries, where the loader looks first."""
    folder = site_packages / "torch" / "lib"
    present = {path.name for path in site_packages.rglob("*.so*")}
    made = stubs([read(path) for path in sorted(folder.glob("*.so*"))], present=present)
    for soname, content in made.items():
        (folder / soname).write_bytes(content)
    sys.stdout.write(f"made {len(made)} stand-ins: {', '.join(made)}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
