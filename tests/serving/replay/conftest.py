"""vLLM is imported before the modules of this folder, which import it themselves: torch's warnings are not ours."""

import warnings
from importlib.util import find_spec

if find_spec("vllm") is not None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import vllm.v1.structured_output  # noqa: F401
