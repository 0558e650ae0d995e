"""``hf://organisation/name[/folder]``: a model on the Hugging Face Hub, or on a mirror that speaks its protocol.

huggingface_hub lists and resolves the revision to a commit; files are read by range from the addresses that it gives,
since it can only download whole files. The Hub tells the sha256 of the files that it keeps in LFS: all weights.
"""

import asyncio
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Final

import httpx2
from huggingface_hub import HfApi, hf_hub_url
from huggingface_hub.errors import HfHubHTTPError, HFValidationError
from huggingface_hub.hf_api import ModelInfo

from llama_serving.config.error_text import error_text
from llama_serving.config.source import Address
from llama_serving.weights.source.credentials import Credentials
from llama_serving.weights.source.http_client import HttpClient
from llama_serving.weights.source.http_errors import Remedies, failure
from llama_serving.weights.source.interface import Broken, Busy, Gone, ListedFile, SourceError

_COMMIT: Final = re.compile(r"[0-9a-f]{40}")
# The Hub's own word for a Retry-After: no request left (r), seconds until there are (t).
_LIMIT: Final = re.compile(r"\br=0;.*?\bt=(\d{1,4})\b")
_TIMEOUT_S: Final = 60.0


class HubSource:
    """One model in one revision; the Secret's keys are ``token`` and, for a mirror, ``HF_ENDPOINT``."""

    ranged = True

    def __init__(self, address: Address, *, revision: str, credentials: Credentials) -> None:
        name, _, folder = address.path.partition("/")
        token = credentials.get("token")
        self._repository = f"{address.host}/{name}".rstrip("/")
        self._folder = f"{folder}/" if folder else ""
        self._revision = revision
        # False: no token that happens to lie in the home folder or the environment.
        self._api = HfApi(endpoint=credentials.get("HF_ENDPOINT").rstrip("/") or None, token=token or False)
        self._fix = _remedies(f"{self._api.endpoint}/{self._repository}")
        self._http = HttpClient(self._fix, credentials=credentials, authorization=f"Bearer {token}" if token else "")
        self._info: ModelInfo | None = None

    async def resolve(self) -> str:
        """Return the commit that the revision names now; that of ``main`` where none is given."""
        if _COMMIT.fullmatch(self._revision):
            return self._revision
        commit = (await self._ask()).sha
        if not commit:
            raise Broken(f"{self._api.endpoint} named no commit for {self._repository} at {self._revision}")
        return commit

    async def list(self) -> tuple[ListedFile, ...]:
        """Return the files of the model's folder; the Hub knows the sha256 of those in LFS."""
        found = []
        for file in (await self._ask()).siblings or []:
            name = file.rfilename.removeprefix(self._folder)
            if file.rfilename.startswith(self._folder) and "/" not in name:
                found.append(ListedFile(name, file.size or 0, file.lfs.sha256 if file.lfs else ""))
        return tuple(sorted(found))

    async def read(self, path: str, *, begin: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """Yield bytes by range, at the commit."""
        commit = await self.resolve()
        url = hf_hub_url(self._repository, self._folder + path, revision=commit, endpoint=self._api.endpoint)
        async for piece in self._http.read(url, begin=begin, end=end):
            yield piece

    async def close(self) -> None:
        """Close our connections; huggingface_hub keeps one of the process."""
        await self._http.close()

    async def _ask(self) -> ModelInfo:
        """Return what the Hub says of the revision; requested once, so that commit and list belong together."""
        if self._info is None:
            self._info = await asyncio.to_thread(self._ask_once)
        return self._info

    def _ask_once(self) -> ModelInfo:
        try:
            return self._api.model_info(
                self._repository, revision=self._revision or None, files_metadata=True, timeout=_TIMEOUT_S
            )
        except HfHubHTTPError as error:
            raise self._failure(error) from error
        except HFValidationError as error:
            raise Gone(f"hf://{self._repository} is no repository of the Hub: {self._fix.gone}") from error
        except (httpx2.HTTPError, OSError) as error:
            raise Broken(f"{self._api.endpoint} did not answer: {error_text(error)}") from error

    def _failure(self, error: HfHubHTTPError) -> SourceError:
        response = error.response
        asked = f"{self._repository} at {self._revision or 'main'} on {self._api.endpoint}"
        said = error.server_message or response.reason_phrase
        found = failure(
            response.status_code, response.headers, asked=asked, said=said, fix=self._fix, now=datetime.now(UTC)
        )
        limit = _LIMIT.search(response.headers.get("RateLimit", ""))
        if isinstance(found, Busy) and found.after is None and limit:
            return Busy(f"{found}, has no request left for {limit[1]} s", after=float(limit[1]))
        return found


def _remedies(page: str) -> Remedies:
    return Remedies(
        denied=f"accept the model's license at {page}, and name a Secret in credentialsSecret whose key token is a "
        "token of the account that accepted it",
        gone=f"check model.source and model.revision against {page}",
    )
