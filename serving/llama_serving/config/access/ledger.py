"""The ledger of a gateway: what each key used, in rows that are only ever added.

``GET :9000/ledger?after=SEQ`` returns the rows after a sequence number, as JSON lines or, with ``format=csv``, as CSV.
A row sums up what ended within one period of one key and one model, so a busy gateway writes no more rows than it has
keys at work.
"""

from typing import Final

from pydantic import ConfigDict, Field

from llama_serving.config.cell import Frozen

#: Folder of a gateway's pod in which the ledger survives the end of its container: an emptyDir of ``LEDGER_SIZE``.
LEDGER_FOLDER: Final = "/var/lib/llama/ledger"
#: Bytes of the volume: two files of ``MOST_BYTES``, and as much again for the file system.
LEDGER_SIZE: Final = "64Mi"
#: Bytes of rows that are kept, in memory and in each of two files.
MOST_BYTES: Final = 8 << 20
#: Seconds between two writes, each followed by fsync: what kill -9 loses at most.
PERIOD: Final = 0.5

HEADER_FIRST: Final = "x-llama-ledger-first"
HEADER_LAST: Final = "x-llama-ledger-last"


class LedgerRow(Frozen):
    """What one key used of one model, of the requests that ended within a period; one gateway's own."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    seq: int = Field(ge=1, description="counts up by one; goes on after a restart of the container")
    time: float = Field(description="end of the period, Unix time in seconds")
    gateway: str = Field(description="name of the gateway's pod")
    key: str = Field(description="name of the key; of a client without one, its address or its header")
    model: str = Field(description="name in the OpenAI API of the adapter; of the base, its own; empty: not known")
    requests: int = Field(description="that ended and for which a group had sent something")
    prompt_tokens: int = Field(description="of the prompts, those cached included")
    cached_tokens: int = Field(description="of those, how many the engine says it had in its cache")
    answer_tokens: int = Field(description="that the client was sent")
    estimated: int = Field(
        default=0, description="of the requests, those whose engine told no usage: parts are estimates"
    )


FIELDS: Final = tuple(LedgerRow.model_fields)
