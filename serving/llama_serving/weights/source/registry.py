"""``oci://registry/repository``: an artifact in an OCI registry, a layer for each file (as ORAS and ModelPack push it).

The revision is a tag or a digest; a tag is resolved to the digest of its manifest. A layer's digest is the file's
sha256. This is a small client of the distribution API on our HTTP client: the Python libraries for it (oras, docker)
load whole layers, know no ranges, and block.
"""

import hashlib
import json
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote

from yarl import URL

from llama_serving.common.foreign_json import parse_foreign_json
from llama_serving.config.source import Address
from llama_serving.weights.source.credentials import Credentials
from llama_serving.weights.source.http_client import HttpClient, basic_authorization
from llama_serving.weights.source.http_errors import Remedies
from llama_serving.weights.source.interface import Broken, Denied, Gone, ListedFile
from llama_serving.weights.source.oci_manifest import (
    DIGEST,
    LARGEST_MANIFEST,
    entries_of,
    kinds_of,
    listed_files,
    read_oci_manifest,
)
from llama_serving.weights.source.redirects import origin

_MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
_INDEX: Final = "application/vnd.oci.image.index.v1+json"
_PARAMETER: Final = re.compile(r'(\w+)="([^"]*)"')
_LOOPBACK: Final = ("localhost", "127.0.0.1", "[::1]")
_LARGEST_TOKEN: Final = 1 << 20
_REALM: Final = "token-realm"  # key of a Secret: where the registry's tokens are, if that is another host
#: Registries whose tokens are elsewhere, by their own documents.
_REALMS: Final = {
    "registry-1.docker.io": "https://auth.docker.io",
    "registry.gitlab.com": "https://gitlab.com",
}


class RegistrySource:
    """One artifact. The Secret's keys are ``username`` and ``password``, or ``.dockerconfigjson``.

    A registry on a loopback address, or with the key ``plain-http``, is spoken to without TLS.
    """

    ranged = True

    def __init__(self, address: Address, *, revision: str, credentials: Credentials) -> None:
        plain = address.host.partition(":")[0] in _LOOPBACK or credentials.plain_http
        self._uri = address.uri
        self._scope = f"repository:{address.path}:pull"
        self._base = f"{'http' if plain else 'https'}://{address.host}/v2/{quote(address.path)}"
        self._revision = revision
        self._fix = Remedies(
            denied="name a Secret in credentialsSecret with the keys username and password, or .dockerconfigjson",
            gone="check repository in model.source and tag or digest in model.revision",
        )
        self._credentials = credentials
        self._basic = _login(credentials, address.host)
        self._realm = credentials.get(_REALM) or _REALMS.get(address.host, "")
        self._http = HttpClient(self._fix, base=self._base, credentials=credentials, authorize=self._authorize)
        self._found: tuple[str, dict[str, ListedFile]] | None = None

    async def resolve(self) -> str:
        """Return the digest of the manifest."""
        return (await self._artifact())[0]

    async def list(self) -> tuple[ListedFile, ...]:
        """Return a file for each layer that has a title."""
        return tuple(sorted((await self._artifact())[1].values()))

    async def read(self, path: str, *, begin: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """Yield bytes by range, out of the layer's blob."""
        files = (await self._artifact())[1]
        if path not in files:
            raise Gone(f"{self._uri} has no layer with the title {path}: {self._fix.gone}")
        async for piece in self._http.read(f"{self._base}/blobs/sha256:{files[path].sha256}", begin=begin, end=end):
            yield piece

    async def close(self) -> None:
        """Close all connections."""
        await self._http.close()

    async def _artifact(self) -> tuple[str, dict[str, ListedFile]]:
        """Return the digest of the manifest and its files by name; requested once, so that they belong together."""
        if self._found is None:
            if not self._revision:
                raise Gone(f"{self._uri} needs a tag or a digest: name it in model.revision")
            digest, manifest = await self._manifest(self._revision)
            entries = entries_of(manifest)
            if entries is not None:
                digest, manifest = await self._manifest(self._only(entries))
            self._found = digest, self._files(manifest)
        return self._found

    def _only(self, digests: Sequence[str]) -> str:
        """Return the digest of the one manifest of an index."""
        if len(digests) != 1:
            raise Gone(
                f"{self._uri} at {self._revision} is an index of {len(digests)} manifests: "
                f"name the digest of one in model.revision ({', '.join(digests[:5])})"
            )
        return digests[0]

    async def _manifest(self, reference: str) -> tuple[str, Mapping[str, Any]]:
        address = f"{self._base}/manifests/{quote(reference)}"
        accept = {"Accept": f"{_MANIFEST}, {_INDEX}"}
        text, _ = await self._http.get_small(address, accept, limit=LARGEST_MANIFEST)
        digest = f"sha256:{hashlib.sha256(text).hexdigest()}"
        if DIGEST.fullmatch(reference) and reference != digest:
            raise Broken(f"{self._uri} answered a manifest with digest {digest} when asked for {reference}")
        try:
            return digest, read_oci_manifest(text)
        except ValueError as error:
            raise Gone(f"{self._uri} at {reference} has no JSON manifest: {self._fix.gone}") from error

    def _files(self, manifest: Mapping[str, Any]) -> dict[str, ListedFile]:
        files = listed_files(manifest)
        if not files:
            number, kinds = kinds_of(manifest)
            raise Gone(
                f"{self._uri} at {self._revision} has no layer that is a plain file with a title (its {number} "
                f"layers are {', '.join(kinds[:3]) or 'none'}): push each file of the model as a layer, unpacked"
            )
        return {file.path: file for file in files}

    async def _authorize(self, challenge: str) -> str:
        """Return the Authorization header that a 401 asks for: Basic, or a token of the realm that it names."""
        scheme, _, rest = challenge.partition(" ")
        asked = dict(_PARAMETER.findall(rest))
        if scheme.lower() != "bearer" or "realm" not in asked:
            return self._basic
        return await self._token(URL(asked["realm"]), service=asked.get("service", ""), scope=asked.get("scope", ""))

    async def _token(self, realm: URL, *, service: str, scope: str) -> str:
        """Return the Authorization header that a realm gives. The registry names it, so it is not trusted with a login.

        Raises Denied where the login would go to another origin than the registry's, or than the Secret names.
        """
        own = URL(self._base)
        beside = realm.host == own.host and (realm.scheme, own.scheme) != ("http", "https")  # any port of the registry
        if self._basic and not beside and not (self._realm and origin(realm) == origin(URL(self._realm))):
            raise Denied(
                f"{self._uri} has its tokens at {origin(realm)}, another host: credentials go there only if the Secret "
                f"names it under {_REALM}"
            )
        login = HttpClient(self._fix, base=str(realm), credentials=self._credentials, authorization=self._basic)
        query = {"service": service, "scope": scope or self._scope}
        try:
            text, _ = await login.get_small(str(realm.update_query(query)), limit=_LARGEST_TOKEN)
            answer = parse_foreign_json(text)
            return f"Bearer {answer.get('token') or answer['access_token']}"
        except (ValueError, KeyError, AttributeError) as error:
            raise Broken(f"{origin(realm)} answered no token for {self._uri}") from error
        finally:
            await login.close()


def _login(credentials: Credentials, host: str) -> str:
    user, password = credentials.get("username"), credentials.get("password")
    if user or password:
        return basic_authorization(user, password)
    try:
        entry = json.loads(credentials.get(".dockerconfigjson") or "{}").get("auths", {}).get(host, {})
        if "auth" in entry:
            return f"Basic {entry['auth']}"
        return basic_authorization(entry["username"], entry["password"]) if "username" in entry else ""
    except (ValueError, AttributeError, KeyError, TypeError):
        return ""  # a Secret that is no docker config: the registry's refusal says what is missing
