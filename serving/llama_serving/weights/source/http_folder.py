"""``http(s)://host/folder``: a folder on a web server.

A web server does not list. Which files there are is said by ``SHA256SUMS`` where it is there, else by
``model.safetensors.index.json`` and the names that the files of a model have.
"""

from collections.abc import AsyncIterator, Iterable
from typing import Any, Final
from urllib.parse import quote

from llama_serving.common.concurrency import map_concurrently
from llama_serving.common.file_names import is_plain_name
from llama_serving.common.foreign_json import parse_foreign_json
from llama_serving.weights.source.credentials import Credentials
from llama_serving.weights.source.http_client import HttpClient, basic_authorization
from llama_serving.weights.source.http_errors import Remedies
from llama_serving.weights.source.interface import Denied, Gone, ListedFile, NoSourceError
from llama_serving.weights.source.sums import LIMIT, SUMS, parse_sums

CONFIG: Final = "config.json"
INDEX: Final = "model.safetensors.index.json"
SINGLE: Final = "model.safetensors"
_KNOWN: Final = (
    CONFIG, INDEX, "tokenizer.json", "tokenizer_config.json", "generation_config.json", "special_tokens_map.json",
    "tokenizer.model", "chat_template.jinja", "hf_quant_config.json", "adapter_config.json", "README.md", "LICENSE",
    "LICENSE.txt", "pytorch_model.bin",
)  # fmt: skip
_PROBES_AT_ONCE: Final = 8
_MOST_PROBED: Final = 2_000  # files; each costs a request

FIX: Final = Remedies(
    denied="name a Secret in credentialsSecret with the key authorization (the whole header) or token",
    gone="check the address in model.source",
)


class HttpFolderSource:
    """The folder at ``url``."""

    def __init__(self, url: str, *, revision: str, credentials: Credentials) -> None:
        self.ranged = True
        self._url = url.rstrip("/")
        self._revision = revision
        self._http = HttpClient(FIX, base=url, credentials=credentials, authorization=_authorization(credentials))

    async def resolve(self) -> str:
        """Return the revision as given: a web server has no other."""
        return self._revision

    async def list(self) -> tuple[ListedFile, ...]:
        """Return the files of SHA256SUMS, or those that a model has."""
        sums = await self._sums()
        names = set(sums) if sums else await self._guess()
        if len(names) > _MOST_PROBED:
            raise Gone(f"{self._url} names {len(names)} files, and no model has more than {_MOST_PROBED}: {FIX.gone}")
        found = await map_concurrently(self._probe, sorted(names), limit=_PROBES_AT_ONCE)
        listed = tuple(ListedFile(name, size, sums.get(name, "")) for name, size in found if size is not None)
        if not listed:
            raise Gone(f"there is neither {SUMS} nor {CONFIG} nor {SINGLE} in {self._url}: {FIX.gone}")
        return listed

    def read(self, path: str, *, begin: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """By range."""
        return self._http.read(self._address(path), begin=begin, end=end)

    async def close(self) -> None:
        """Close all connections."""
        await self._http.close()

    def _address(self, path: str) -> str:
        return f"{self._url}/{quote(path)}"

    async def _sums(self) -> dict[str, str]:
        try:
            text, _ = await self._http.get_small(self._address(SUMS), limit=LIMIT)
        except NoSourceError:
            raise
        except (Gone, Denied):  # some servers answer 403 for what is not there
            return {}
        return parse_sums(text.decode("utf-8", "replace"))

    async def _guess(self) -> set[str]:
        try:
            text, _ = await self._http.get_small(self._address(INDEX))
        except NoSourceError:
            raise
        except (Gone, Denied):
            return {*_KNOWN, SINGLE}
        return {*_KNOWN, *_shards(text)}

    async def _probe(self, name: str) -> tuple[str, int | None]:
        """Return the name and size of a file; None for the size when it is not there.

        A server may refuse what is not there: Denied is raised for config.json alone, which every model has.
        """
        try:
            size, ranged = await self._http.probe(self._address(name))
        except NoSourceError:
            raise
        except Gone:
            return name, None
        except Denied:
            if name == CONFIG:
                raise
            return name, None
        self.ranged = self.ranged and ranged
        return name, size


def _shards(index: bytes) -> Iterable[str]:
    """Return the files that an index names; none when it is no index, which the inspection reports."""
    try:
        entries: Any = parse_foreign_json(index)
    except ValueError:
        return set()
    shards = entries.get("weight_map") if isinstance(entries, dict) else None
    named = shards.values() if isinstance(shards, dict) else ()
    return {name for name in named if isinstance(name, str) and is_plain_name(name)}


def _authorization(credentials: Credentials) -> str:
    whole, token = credentials.get("authorization"), credentials.get("token")
    user, password = credentials.get("username"), credentials.get("password")
    if user and not (whole or token):
        return basic_authorization(user, password)
    return whole or (f"Bearer {token}" if token else "")
