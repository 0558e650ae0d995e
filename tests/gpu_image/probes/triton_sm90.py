"""Compiles a Triton kernel for an H100, and the helper with which Triton calls the driver (by gcc and Python.h)."""

import triton
import triton.language as tl
from triton.backends.compiler import GPUTarget
from triton.backends.nvidia.driver import CudaUtils
from triton.compiler import ASTSource


@triton.jit
def double(source, target, n):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201 - Triton reads the annotations
    i = tl.program_id(0) * 256 + tl.arange(0, 256)
    tl.store(target + i, tl.load(source + i, mask=i < n) * 2, mask=i < n)


kernel = ASTSource(fn=double, signature={"source": "*bf16", "target": "*bf16", "n": "i32"}, constexprs={})
compiled = triton.compile(kernel, target=GPUTarget("cuda", 90, 32))
assert compiled.asm["cubin"][:4] == b"\x7fELF"
CudaUtils()
print(len(compiled.asm["cubin"]))
