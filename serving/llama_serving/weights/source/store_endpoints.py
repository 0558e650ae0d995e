"""Where an object store's client goes, by its options: checked before it is asked, since it resolves names itself.

The options are a Secret's, so no server chose them. A name that means another address between the check and the
client's own look is not noticed; the network policy of the pod is what holds then.
"""

from collections.abc import Mapping
from typing import Final

from yarl import URL

from llama_serving.common.foreign_json import parse_foreign_json
from llama_serving.weights.source.addresses import AddressRules, is_loopback, resolve_checked
from llama_serving.weights.source.credentials import Credentials
from llama_serving.weights.source.interface import Denied, Gone

_SCHEMES: Final = ("http://", "https://")
_ACCOUNT: Final = "google_service_account_key"
_BASE_URL: Final = "gcs_base_url"
_ALLOW_HTTP: Final = "allow_http"  # end of the option of a client that says the same as plain-http


def endpoints(options: Mapping[str, str]) -> tuple[URL, ...]:
    """Return the addresses that the options name; none where the cloud's own are used. Raises Gone for no address."""
    texts = [value for value in options.values() if value.startswith(_SCHEMES)]
    if base := _base_of_account(options.get(_ACCOUNT, "")):
        texts.append(base)
    try:
        return tuple(map(URL, texts))
    except ValueError as error:
        raise Gone("the Secret in credentialsSecret names an endpoint that is no address") from error


def check_plain(options: Mapping[str, str], credentials: Credentials, *, anonymous: bool) -> bool:
    """Return whether the client may speak http. Raises Denied where credentials would go over it."""
    plain = [url for url in endpoints(options) if url.scheme == "http"]
    allowed = credentials.plain_http or any(
        value == "true" for name, value in options.items() if name.endswith(_ALLOW_HTTP)
    )
    exposed = next((url for url in plain if not is_loopback(url.host or "")), None)
    if exposed and not (allowed or anonymous):
        raise Denied(
            f"credentials are not sent to {exposed.host} over plain http: use https, or set plain-http to true in the "
            "Secret"
        )
    return bool(plain)


def check_addresses(options: Mapping[str, str], rules: AddressRules) -> None:
    """Raise Gone where an endpoint may not be connected to. Blocks: names are resolved."""
    for url in endpoints(options):
        resolve_checked(url.host or "", rules)


def _base_of_account(text: str) -> str:
    try:
        account = parse_foreign_json(text.encode())
    except ValueError:
        return ""
    base = account.get(_BASE_URL) if isinstance(account, dict) else None
    return base if isinstance(base, str) else ""
