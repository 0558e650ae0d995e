"""Builds one of FlashInfer's modules with the image's nvcc and g++, as a first start on a B200 does, and loads it."""

import ctypes

from flashinfer.page import gen_page_module

module = gen_page_module()
module.build(verbose=True)
ctypes.CDLL(str(module.jit_library_path))
print(module.jit_library_path)
