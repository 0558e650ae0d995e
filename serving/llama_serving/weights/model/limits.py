"""What a model's folder may have at most. Nothing real comes near: Llama 3.1 405B has 191 files and 1,137 tensors.

A resolver has 1 GiB of memory (``manifests/resolver.py``). What it keeps at a time is bounded by these numbers: all
small files, all headers as text, and one header parsed at a time together with the tensors found so far.
"""

from typing import Final

#: Names in a folder, or files that a source lists.
MOST_NAMES: Final = 10_000
#: Safetensors files of one model.
MOST_WEIGHT_FILES: Final = 1024
#: Tensors of one model: the sha256 of each goes into the manifest, which must fit a ConfigMap.
MOST_TENSORS: Final = 8192
#: Layers of a model, or of the base of an adapter; they are counted one by one, here and in the operator.
MOST_LAYERS: Final = 1024
#: Characters in the name of a tensor.
LONGEST_TENSOR_NAME: Final = 256
#: Dimensions of a tensor, and elements along one of them.
MOST_DIMENSIONS: Final = 8
LARGEST_DIMENSION: Final = 1 << 48
#: Bytes of one header, and of all of a model's headers.
LARGEST_HEADER: Final = 16 << 20
ALL_HEADERS: Final = 64 << 20
#: Bytes of one small file (tokenizer.json of Llama 3 has 17 MB), and of all of them.
LARGEST_SMALL_FILE: Final = 64 << 20
ALL_SMALL_FILES: Final = 192 << 20
#: Bytes of all weights: four times 405B in F32. A sparse file of any size costs nothing to make, and days to read.
ALL_WEIGHTS: Final = 4 << 40
