"""Fills the validator's cache with the context of RO-Crate, so that it validates without a network.

Run with the Python of `make attest`: `prime_rocrate_cache.py CACHE CONTEXT`. CONTEXT is the file that the package
rocrate brings (`rocrate/data/ro-crate.jsonld`), of a later version than 1.1: its terms are those of 1.1 and more, and
four of them have moved since.
"""

import io
import json
import sys
from pathlib import Path

from requests.adapters import HTTPAdapter
from requests_cache import CachedSession
from urllib3 import HTTPResponse

ADDRESSES = ("https://w3id.org/ro/crate/1.1/context",)
BIOSCHEMAS = "https://bioschemas.org"
AS_IN_1_1 = {
    "ComputationalWorkflow": f"{BIOSCHEMAS}/ComputationalWorkflow",
    "FormalParameter": f"{BIOSCHEMAS}/FormalParameter",
    "input": f"{BIOSCHEMAS}/ComputationalWorkflow#input",
    "output": f"{BIOSCHEMAS}/ComputationalWorkflow#output",
}


class FromFile(HTTPAdapter):
    """Answers every request with one content."""

    def __init__(self, content: bytes) -> None:
        super().__init__()
        self.content = content

    def send(self, request, **_kwargs):
        headers = {"Content-Type": "application/ld+json"}
        body = io.BytesIO(self.content)
        found = HTTPResponse(body, headers, 200, preload_content=False, request_url=request.url)
        return self.build_response(request, found)


def main(cache: str, context: str) -> None:
    document = json.loads(Path(context).read_bytes())
    document["@context"] |= AS_IN_1_1
    session = CachedSession(cache_name=cache, expire_after=-1, backend="sqlite", allowable_methods=("GET",))
    session.mount("https://", FromFile(json.dumps(document).encode()))
    accept = {"Accept": "application/ld+json, application/json, */*;q=0.1"}
    for address in ADDRESSES:
        session.get(address, headers=accept)
        session.get(address)
    session.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
