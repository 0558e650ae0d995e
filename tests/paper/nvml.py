"""Builds NVIDIA's management library for devices on paper, and says what is wrong with them: see ``nvml.c``.

paper = PaperNvml.build(folder)
paper.devices(2, driver="580.65.06")
paper.devices(2, one={"ecc": 3})       # device 1
subprocess.run(..., env=os.environ | paper.environment)
"""

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

LIBRARY: Final = "libnvidia-ml.so.1"
_SOURCE: Final = Path(__file__).with_name("nvml.c")
_NAMED: Final = {"zero": 0, "one": 1, "two": 2, "three": 3}


@dataclass(frozen=True)
class PaperNvml:
    """A library and the file that it reads."""

    folder: Path

    @classmethod
    def build(cls, folder: Path) -> "PaperNvml":
        """Compile it into a folder; needs a C compiler."""
        folder.mkdir(parents=True, exist_ok=True)
        command = ["cc", "-shared", "-fPIC", "-O1", "-Wall", "-Werror", f"-Wl,-soname,{LIBRARY}"]
        subprocess.run(
            [*command, "-o", str(folder / LIBRARY), str(_SOURCE)], check=True, capture_output=True, text=True
        )
        found = cls(folder)
        found.devices(8)
        return found

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs to find the library and its file."""
        return {"LD_LIBRARY_PATH": str(self.folder), "PAPER_NVML": str(self.folder / "devices")}

    def devices(self, count: int, **what: Any) -> None:
        """Say how many devices there are and what is wrong with them, from now on.

        A mapping named ``zero`` to ``three`` is about that device; ``fail_CALL=15`` about a call.
        """
        lines = [f"count {count}"]
        for key, value in what.items():
            fields = value if isinstance(value, Mapping) else {key: value}
            prefix = f"{_NAMED[key]}." if isinstance(value, Mapping) else ""
            lines += [f"{prefix}{_key(name)} {said}" for name, said in fields.items()]
        path = self.folder / "devices"
        new = path.with_suffix(".new")
        new.write_text("\n".join(lines) + "\n", encoding="utf-8")
        new.replace(path)


def _key(name: str) -> str:
    kind, _, call = name.partition("_nvml")
    return f"{kind}:nvml{call}" if call else name
