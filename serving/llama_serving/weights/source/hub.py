"""``hf://organisation/name[/folder]``: a model on the Hugging Face Hub, or on a mirror that speaks its protocol.

Two of the Hub's routes are enough: ``GET /api/models/ID/revision/REVISION?blobs=true`` names the commit and the files,
``GET /ID/resolve/COMMIT/FILE`` has their bytes, by range. Both go through our HTTP client, which bounds what an answer
may have, keeps the token at its origin and checks addresses; huggingface_hub does none of that. The Hub tells the
sha256 of the files that it keeps in LFS: all weights.
"""

import re
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final
from urllib.parse import quote

from llama_serving.common.file_names import is_plain_name
from llama_serving.common.foreign_json import parse_foreign_json
from llama_serving.config.source import Address
from llama_serving.weights.source.credentials import Credentials
from llama_serving.weights.source.http_client import HttpClient
from llama_serving.weights.source.http_errors import Remedies
from llama_serving.weights.source.interface import Broken, Gone, ListedFile

_ENDPOINT: Final = "https://huggingface.co"
_COMMIT: Final = re.compile(r"[0-9a-f]{40}")
_SHA256: Final = re.compile(r"[0-9a-f]{64}")


class HubSource:
    """One model in one revision; the Secret's keys are ``token`` and, for a mirror, ``HF_ENDPOINT``."""

    ranged = True

    def __init__(self, address: Address, *, revision: str, credentials: Credentials) -> None:
        name, _, folder = address.path.partition("/")
        token = credentials.get("token")
        self._endpoint = credentials.get("HF_ENDPOINT").rstrip("/") or _ENDPOINT
        self._repository = f"{address.host}/{name}".rstrip("/")
        self._folder = f"{folder}/" if folder else ""
        self._revision = revision
        self._fix = _remedies(f"{self._endpoint}/{self._repository}")
        self._http = HttpClient(
            self._fix,
            base=self._endpoint,
            credentials=credentials,
            authorization=f"Bearer {token}" if token else "",
        )
        self._info: Mapping[str, Any] | None = None

    async def resolve(self) -> str:
        """Return the commit that the revision names now; that of ``main`` where none is given."""
        if _COMMIT.fullmatch(self._revision):
            return self._revision
        commit = (await self._ask()).get("sha")
        if not isinstance(commit, str) or not _COMMIT.fullmatch(commit):
            raise Broken(f"{self._endpoint} named no commit for {self._repository} at {self._revision}")
        return commit

    async def list(self) -> tuple[ListedFile, ...]:
        """Return the files of the model's folder; the Hub knows the sha256 of those in LFS."""
        entries = (await self._ask()).get("siblings")
        found = map(self._listed, entries if isinstance(entries, list) else [])
        return tuple(sorted(file for file in found if file is not None))

    async def read(self, path: str, *, begin: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """Yield bytes by range, at the commit."""
        commit = await self.resolve()
        url = f"{self._endpoint}/{self._repository}/resolve/{commit}/{quote(self._folder + path)}"
        async for piece in self._http.read(url, begin=begin, end=end):
            yield piece

    async def close(self) -> None:
        """Close all connections."""
        await self._http.close()

    def _listed(self, entry: Any) -> ListedFile | None:
        """Return a file directly in the model's folder; None for anything else."""
        path = entry.get("rfilename") if isinstance(entry, dict) else None
        if not isinstance(path, str) or not path.startswith(self._folder):
            return None
        name, size, lfs = path.removeprefix(self._folder), entry.get("size"), entry.get("lfs")
        sha256 = lfs.get("sha256") if isinstance(lfs, dict) else None
        if "/" in name or not is_plain_name(name):
            return None
        known = isinstance(sha256, str) and _SHA256.fullmatch(sha256) is not None
        return ListedFile(name, size if type(size) is int and size >= 0 else 0, sha256 if known and sha256 else "")

    async def _ask(self) -> Mapping[str, Any]:
        """Return what the Hub says of the revision; requested once, so that commit and list belong together."""
        if self._info is None:
            at = f"/revision/{quote(self._revision, safe='')}" if self._revision else ""
            url = f"{self._endpoint}/api/models/{self._repository}{at}?blobs=true"
            text, _ = await self._http.get_small(url)
            self._info = self._parsed(text)
        return self._info

    def _parsed(self, text: bytes) -> Mapping[str, Any]:
        try:
            found = parse_foreign_json(text)
        except ValueError as error:
            raise Gone(f"{self._endpoint} answered no list of {self._repository}: {error}; {self._fix.gone}") from error
        if not isinstance(found, dict):
            raise Gone(f"{self._endpoint} answered no list of {self._repository}: {self._fix.gone}")
        return found


def _remedies(page: str) -> Remedies:
    return Remedies(
        denied=f"accept the model's license at {page}, and name a Secret in credentialsSecret whose key token is a "
        "token of the account that accepted it",
        gone=f"check model.source and model.revision against {page}",
    )
