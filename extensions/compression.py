"""Unpack replies, and have what cannot be unpacked be a failure with a reason."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

from scrapy.downloadermiddlewares import httpcompression
from scrapy.exceptions import IgnoreRequest

from extensions.addresses import one_line
from extensions.retry import give_up, is_for_now, retry_later

if TYPE_CHECKING:
    from scrapy import Request
    from scrapy.crawler import Crawler
    from scrapy.http import Response

_KNOWN = {*httpcompression.ACCEPTED_ENCODINGS, b"x-gzip", b"identity"}
_MOST = 4
"""Encodings around one body; a site needs one."""


class HttpCompressionMiddleware(httpcompression.HttpCompressionMiddleware):
    """Scrapy's middleware, but for replies that it cannot unpack.

    A damaged one is asked for again. One that is larger than `DOWNLOAD_MAXSIZE` when unpacked, or
    is packed in a way that nobody here knows, becomes a dead letter at once.

    Settings:
        COMPRESSION_ENABLED, DOWNLOAD_MAXSIZE: as in Scrapy.
    """

    crawler: Crawler

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> HttpCompressionMiddleware:
        middleware = super().from_crawler(crawler)
        middleware.crawler = crawler
        return middleware

    # Without the spider, as Scrapy calls it now.
    def process_response(  # type: ignore[override]
        self, request: Request, response: Response
    ) -> Request | Response:
        try:
            if reason := _strange_encoding(response):
                return self._fail(request, response, reason)
            return super().process_response(request, response)
        except IgnoreRequest as error:
            if error.__cause__ is None:
                raise
            return self._fail(request, response, "too many bytes when it is unpacked")
        except Exception as error:  # noqa: BLE001 -- each of five decoders has errors of its own
            said = f"{type(error).__name__}: {one_line(str(error))}"
            return self._fail(request, response, f"it cannot be unpacked: {said}", may_pass=True)

    def _fail(
        self, request: Request, response: Response, reason: str, *, may_pass: bool = False
    ) -> Request | Response:
        """Try again, or refuse the reply.

        Raises:
            IgnoreRequest: it will not succeed, or somebody waits for it.

        """
        if response.status >= HTTPStatus.MULTIPLE_CHOICES:
            # The status says enough, whatever the body was to say.
            return response.replace(body=b"")
        if may_pass and not is_for_now(request):
            assert self.crawler.spider is not None  # noqa: S101 -- Scrapy has set it by now
            again = retry_later(request, self.crawler.spider, reason, response=response)
            if again is not None:
                return again
        else:
            give_up(request, reason, response)
        raise IgnoreRequest(reason)


def _strange_encoding(response: Response) -> str | None:
    """Say what nobody here can unpack; None when there is nothing of the kind."""
    header = b",".join(response.headers.getlist("Content-Encoding"))
    encodings = [one.strip().lower() for one in header.split(b",") if one.strip()]
    if len(encodings) > _MOST:
        return f"{len(encodings)} content encodings"
    strange = next((one for one in encodings if one not in _KNOWN), None)
    return None if strange is None else f"unknown content encoding {strange[:40]!r}"
