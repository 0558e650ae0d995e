"""Stand-ins for CUDA libraries: the loader takes them, with every function and version that was asked for."""

import ctypes
import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).parents[2] / "serving" / "cuda_stubs.py"


@pytest.fixture(scope="module")
def stubs() -> ModuleType:
    spec = importlib.util.spec_from_file_location("cuda_stubs", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["cuda_stubs"] = module
    spec.loader.exec_module(module)
    return module


def library(stubs: ModuleType, **content: object) -> object:
    return stubs.Library(**content)


def test_the_loader_takes_a_stand_in_and_finds_its_functions(stubs: ModuleType, tmp_path: Path) -> None:
    names = [f"cublasFunction{i}" for i in range(300)]
    path = tmp_path / "libcublas.so.13"
    path.write_bytes(stubs.stub("libcublas.so.13", names, "libcublas.so.13"))
    loaded = ctypes.CDLL(str(path))
    addresses = {ctypes.cast(getattr(loaded, name), ctypes.c_void_p).value for name in names}
    assert len(addresses) == 1
    assert None not in addresses
    with pytest.raises(AttributeError):
        _ = loaded.cublasSomethingElse


def test_a_stand_in_without_versions_is_loaded_too(stubs: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "libnccl.so.2"
    path.write_bytes(stubs.stub("libnccl.so.2", ["ncclSend"], ""))
    assert ctypes.CDLL(str(path)).ncclSend


def test_a_call_ends_the_process_at_once(stubs: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "libnccl.so.2"
    path.write_bytes(stubs.stub("libnccl.so.2", ["ncclSend"], ""))
    code = f"import ctypes; ctypes.CDLL({str(path)!r}).ncclSend()"
    assert subprocess.run([sys.executable, "-c", code]).returncode == -4  # SIGILL


def test_a_real_library_is_read(stubs: ModuleType) -> None:
    found = next(Path("/").glob("lib/x86_64-linux-gnu/libm.so.6"))
    read = stubs.read(found)
    assert "libc.so.6" in read.needed
    assert any(name == "__cxa_finalize" and version.startswith("GLIBC_") for name, version in read.undefined)
    assert read.versions["GLIBC_2.2.5"] == "libc.so.6"


def test_only_libraries_that_are_absent_and_of_the_tool_kit_are_made(stubs: ModuleType) -> None:
    torch = library(
        stubs,
        needed={"libcublas.so.13", "libcudart.so.13", "libcuda.so.1", "libnccl.so.2", "libc.so.6"},
        undefined={("cublasCreate", "libcublas.so.13"), ("ncclSend", ""), ("malloc", "GLIBC_2.2.5")},
        versions={"libcublas.so.13": "libcublas.so.13", "GLIBC_2.2.5": "libc.so.6"},
    )
    assert set(stubs.stubs([torch], present={"libcudart.so.13"})) == {"libcublas.so.13", "libnccl.so.2"}
    assert set(stubs.stubs([torch], present={"libnccl.so.2"})) == {"libcublas.so.13"}


def test_two_versions_of_one_library_are_refused(stubs: ModuleType) -> None:
    torch = library(
        stubs, needed={"libcublas.so.13"}, undefined=set(), versions={"A": "libcublas.so.13", "B": "libcublas.so.13"}
    )
    with pytest.raises(SystemExit, match="several versions"):
        stubs.stubs([torch], present=set())


@pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler to make a library that binds at once")
def test_a_library_that_binds_at_once_is_loaded_with_stand_ins_alone(stubs: ModuleType, tmp_path: Path) -> None:
    # As PyTorch is linked: against the real library, with versions, and "now".
    (tmp_path / "real.c").write_text("int cublasCreate(void) { return 0; }")
    (tmp_path / "map").write_text("libcublas.so.13 { global: *; };")
    (tmp_path / "user.c").write_text(
        "int cublasCreate(void); int five(void) { return 5; } int use(void) { return cublasCreate(); }"
    )
    shared = ["cc", "-shared", "-fPIC"]
    real, user = tmp_path / "libcublas.so.13", tmp_path / "libuser.so"
    version = ["-Wl,-soname,libcublas.so.13", f"-Wl,--version-script,{tmp_path}/map"]
    subprocess.run([*shared, *version, "-o", str(real), str(tmp_path / "real.c")], check=True)
    now = ["-Wl,-z,now", "-Wl,-rpath,$ORIGIN"]
    subprocess.run([*shared, *now, "-o", str(user), str(tmp_path / "user.c"), str(real)], check=True)
    real.unlink()
    made = stubs.stubs([stubs.read(user)], present=set())
    real.write_bytes(made["libcublas.so.13"])
    code = f"import ctypes; print(ctypes.CDLL({str(user)!r}).five())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.stdout.strip(), done.stderr) == ("5", "")
