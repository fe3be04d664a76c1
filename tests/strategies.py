"""The strategies that come with the package, by the names that our own tests know."""

from __future__ import annotations

from fasthttpserver.testing import Request as Request
from fasthttpserver.testing import bodies as bodies
from fasthttpserver.testing import chunked_bodies as chunked_bodies
from fasthttpserver.testing import header_names as header_names
from fasthttpserver.testing import header_values as header_values
from fasthttpserver.testing import headers as headers
from fasthttpserver.testing import hosts as hosts
from fasthttpserver.testing import limits as limits
from fasthttpserver.testing import methods as methods
from fasthttpserver.testing import mutations as mutations
from fasthttpserver.testing import pipelines as pipelines
from fasthttpserver.testing import requests as requests
from fasthttpserver.testing import splits as splits
from fasthttpserver.testing import targets as targets
from fasthttpserver.testing import tokens as tokens
