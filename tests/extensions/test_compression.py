from __future__ import annotations

import gzip
import zlib

import pytest
from scrapy import Request, Spider
from scrapy.exceptions import IgnoreRequest
from scrapy.http import Response
from scrapy.utils.test import get_crawler

from extensions.compression import HttpCompressionMiddleware
from extensions.dead_letters import Failure
from extensions.lease import Lease
from extensions.queue import Leased

URL = "http://site/page"
GZIP = gzip.compress(b"text")


@pytest.fixture
def middleware() -> HttpCompressionMiddleware:
    settings = {"RETRY_TIMES": 1, "DOWNLOAD_MAXSIZE": 1000, "EXTENSIONS_BASE": {}}
    crawler = get_crawler(settings_dict=settings)
    crawler.spider = Spider.from_crawler(crawler, "any")
    return HttpCompressionMiddleware.from_crawler(crawler)


def leased(**meta) -> Request:
    return Request(URL, meta={"queue_lease": Lease(Leased(2, "1-0", {})), **meta})


def packed(body: bytes, encoding: bytes, status: int = 200) -> Response:
    return Response(URL, status, headers={"Content-Encoding": encoding}, body=body)


def failure_of(request: Request) -> Failure | None:
    return request.meta["queue_lease"].failure


@pytest.mark.parametrize("encoding", [b"gzip", b"GZIP", b"x-gzip", b" gzip"])
def test_what_is_whole_is_unpacked(middleware, encoding):
    assert middleware.process_response(leased(), packed(GZIP, encoding)).body == b"text"


@pytest.mark.parametrize("encoding", [b"identity", b""])
def test_what_says_that_it_is_not_packed_is_taken_as_it_is(middleware, encoding):
    assert middleware.process_response(leased(), packed(b"text", encoding)).body == b"text"


@pytest.mark.parametrize("encoding", [b"gzip", b"deflate", b"br", b"zstd", b"gzip, gzip"])
def test_what_is_damaged_is_asked_for_again_and_then_a_dead_letter(middleware, encoding):
    first, last = leased(), leased(retry_times=1)

    again = middleware.process_response(first, packed(b"no such thing", encoding))
    with pytest.raises(IgnoreRequest):
        middleware.process_response(last, packed(b"no such thing", encoding))

    assert again.meta["retry_times"] == 1
    assert failure_of(first) is None
    assert failure_of(last).reason.startswith("it cannot be unpacked: ")


@pytest.mark.parametrize(
    ("body", "encoding", "reason"),
    [
        (zlib.compress(bytes(9999)), b"deflate", "too many bytes when it is unpacked"),
        (b"text", b"rot13", "unknown content encoding b'rot13'"),
        (b"text", b"\xff\xfe", r"unknown content encoding b'\xff\xfe'"),
        (GZIP, b"gzip, rot13", "unknown content encoding b'rot13'"),
        (GZIP, b",".join([b"gzip"] * 9), "9 content encodings"),
    ],
    ids=["bomb", "unknown", "no text", "half known", "many"],
)
def test_what_nobody_can_unpack_is_a_dead_letter_at_once(middleware, body, encoding, reason):
    request = leased()

    with pytest.raises(IgnoreRequest):
        middleware.process_response(request, packed(body, encoding))

    failure = failure_of(request)
    assert (failure.reason, failure.status) == (reason, 200)


def test_of_a_failure_the_status_is_what_counts(middleware):
    request = leased()

    response = middleware.process_response(request, packed(b"no such thing", b"gzip", 503))

    assert (response.status, response.body) == (503, b"")
    assert failure_of(request) is None


def test_who_waits_for_a_reply_gets_an_error_and_no_later_one(middleware):
    with pytest.raises(IgnoreRequest):
        middleware.process_response(Request(URL), packed(b"no such thing", b"gzip"))
