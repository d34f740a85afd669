"""A site that sends every kind of rubbish: raw bytes over a socket, as no web server would."""

from __future__ import annotations

import asyncio
import gzip
import json
import threading
import zlib
from collections import Counter
from collections.abc import Callable

import zstandard

LARGEST = 100_000
"""Bytes of a reply that the tests allow."""
BOMB = 50_000_000
"""Bytes that a bomb has, unpacked."""
UPLOADED = 1_800_000_000
FORMAT = "gen9ou"


def reply(body: bytes, *headers: bytes, status: bytes = b"200 OK") -> bytes:
    """Build a proper reply; those that are none are bent out of one."""
    lines = [b"HTTP/1.1 " + status, b"Content-Length: %d" % len(body), *headers]
    return b"\r\n".join([*lines, b"Connection: close", b"", body])


def packed(body: bytes, encoding: bytes) -> bytes:
    return reply(body, b"Content-Encoding: " + encoding)


def chunked(data: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + data


def _zeros(compressor) -> bytes:
    block = bytes(1_000_000)
    packed = [compressor.compress(block) for _ in range(BOMB // len(block))]
    return b"".join([*packed, compressor.flush()])


def _text(**fields) -> bytes:
    return json.dumps(fields).encode()


def _replay(log: object) -> bytes:
    return _text(id="gen9ou-1", formatid=FORMAT, private=0, log=log)


KINDS: dict[str, Callable[[], bytes]] = {
    # The body.
    "truncated": lambda: reply(b"{}").replace(b"Length: 2", b"Length: 5000"),
    "short-length": lambda: reply(b'{"id": 1}').replace(b"Length: 9", b"Length: 3"),
    "negative-length": lambda: reply(b"{}").replace(b"Length: 2", b"Length: -1"),
    "wordy-length": lambda: reply(b"{}").replace(b"Length: 2", b"Length: two"),
    "huge-length": lambda: reply(b"{}").replace(b"Length: 2", b"Length: " + b"9" * 30),
    "two-lengths": lambda: reply(b"{}", b"Content-Length: 7"),
    "length-and-chunks": lambda: reply(b"{}", b"Transfer-Encoding: chunked"),
    "announced-too-long": lambda: reply(b"[" * (LARGEST + 1)),
    "too-long": lambda: b"HTTP/1.0 200 OK\r\n\r\n" + b"[" * (4 * LARGEST),
    "too-long-in-chunks": lambda: chunked((b"2000\r\n" + b"[" * 8192 + b"\r\n") * 50),
    "no-chunks": lambda: chunked(b"zz\r\n{}\r\n0\r\n\r\n"),
    "chunk-of-minus-one": lambda: chunked(b"-1\r\n{}\r\n0\r\n\r\n"),
    "huge-chunk": lambda: chunked(b"f" * 30 + b"\r\n{}"),
    "unended-chunks": lambda: chunked(b"2\r\n{}\r\n"),
    "chunk-without-line-end": lambda: chunked(b"2\r\n{}xx0\r\n\r\n"),
    "long-chunk-extension": lambda: chunked(b"2;" + b"x" * 200_000 + b"\r\n{}\r\n0\r\n\r\n"),
    # The head.
    "nothing": lambda: b"",
    "line-ends-only": lambda: b"\r\n" * 50,
    "no-http": lambda: b"SSH-2.0-OpenSSH_9.6\r\n",
    "garbage": lambda: bytes(range(256)) * 20,
    "bad-status": lambda: reply(b"{}", status=b"abc OK"),
    "status-of-six-digits": lambda: reply(b"{}", status=b"200000 OK"),
    "status-of-zero": lambda: reply(b"{}", status=b"000 Nothing"),
    "status-99": lambda: reply(b"{}", status=b"99 What"),
    "status-999": lambda: reply(b"{}", status=b"999 What"),
    "http-9": lambda: reply(b"{}").replace(b"HTTP/1.1", b"HTTP/9.9"),
    "reason-in-latin-1": lambda: reply(b"{}", status=b"500 \xe9\xff"),
    "header-without-colon": lambda: reply(b"{}", b"this is none"),
    "header-name-with-nul": lambda: reply(b"{}", b"X\x00Y: 1"),
    "header-value-with-nul": lambda: reply(b"{}", b"X: a\x00b"),
    "header-not-utf-8": lambda: reply(b"{}", b"X-Name: \xff\xfe\xe9"),
    "header-name-not-utf-8": lambda: reply(b"{}", b"X-\xff\xe9: 1"),
    "type-not-utf-8": lambda: reply(b"{}", b"Content-Type: \xff\xfe/\xe9"),
    "unknown-charset": lambda: reply(b"{}", b"Content-Type: text/html; charset=nonsense-\xff"),
    "long-header": lambda: reply(b"{}", b"X: " + b"x" * 100_000),
    "many-headers": lambda: reply(b"{}", *(b"X-%d: 1" % n for n in range(50_000))),
    "folded-header": lambda: reply(b"{}", b"X: a\r\n\tb"),
    "unended-head": lambda: b"HTTP/1.1 200 OK\r\nX: 1",
    "switching-protocols": lambda: reply(b"{}", status=b"101 Switching Protocols"),
    "flood-of-100": lambda: b"HTTP/1.1 100 Continue\r\n\r\n" * 10_000,
    "flood-of-103": lambda: b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" * 5_000,
    "strange-cookies": lambda: reply(b"{}", b"Set-Cookie: \xff=\x01; ;;; Domain=\xe9"),
    "retry-after-nonsense": lambda: reply(b"{}", b"Retry-After: \xff", status=b"500 No"),
    "redirect-to-nowhere": lambda: reply(b"", b"Location: http://[", status=b"302 Found"),
    # The encoding.
    "unknown-encoding": lambda: packed(b"{}", b"rot13"),
    "encoding-not-utf-8": lambda: packed(b"{}", b"\xff\xfe"),
    "no-gzip": lambda: packed(b"this is no gzip", b"gzip"),
    "half-a-gzip": lambda: packed(gzip.compress(_text(x="y" * 5000))[:30], b"gzip"),
    "no-deflate": lambda: packed(b"this is no deflate", b"deflate"),
    "no-brotli": lambda: packed(b"this is no brotli", b"br"),
    "no-zstd": lambda: packed(b"this is no zstd", b"zstd"),
    "half-a-zstd": lambda: packed(zstandard.compress(_text(x="y" * 5000))[:20], b"zstd"),
    "gzip-bomb": lambda: packed(_zeros(zlib.compressobj(9, wbits=31)), b"gzip"),
    "deflate-bomb": lambda: packed(_zeros(zlib.compressobj(9)), b"deflate"),
    "zstd-bomb": lambda: packed(_zeros(zstandard.ZstdCompressor(19).compressobj()), b"zstd"),
    "gzip-in-gzip": lambda: packed(gzip.compress(gzip.compress(b"{")), b"gzip, gzip"),
    "many-encodings": lambda: packed(b"{", b", ".join([b"gzip"] * 1000)),
    # What is in it.
    "empty": lambda: reply(b""),
    "nul-bytes": lambda: reply(bytes(1000)),
    "html": lambda: reply(b"<html><script>while(1);</script></html>"),
    "half-json": lambda: reply(b'{"id": "gen9ou-1", "log": "|'),
    "deep-json": lambda: reply(b"[" * 90_000),
    "deep-object": lambda: reply(b'{"id":' * 15_000),
    "lone-surrogates": lambda: reply(_replay("|j|\ud800\n|win|\udfff")),
    "surrogates-in-id": lambda: reply(_text(id="gen9ou-\ud800", formatid="\udfff", log="|win|a")),
    "not-utf-8": lambda: reply(b'{"id": "\xff\xfe"}'),
    "utf-16": lambda: reply('{"id": "gen9ou-1"}'.encode("utf-16")),
    "huge-number": lambda: reply(b'{"id": "x", "rating": ' + b"9" * 50_000 + b"}"),
    "not-a-number": lambda: reply(b'{"id": NaN, "uploadtime": Infinity, "rating": -Infinity}'),
    "wrong-types": lambda: reply(_text(id=[1], log={"a": 1}, players={"x": 1}, private="no")),
    "another-battle": lambda: reply(_replay("|j|a\n|win|a").replace(b"gen9ou-1", b"gen9ou-2")),
    "terminal-codes": lambda: reply(b"]" + _text(actionerror="\x1b[2J\x1b]0;owned\x07\r\nERROR")),
    "a-list": lambda: reply(b"[1, 2, 3]"),
    "null": lambda: reply(b"null"),
}
NEVER_CLOSED = ("unended-head",)
"""Kinds after which the connection stays open, so that only a time-out ends them."""


class HostileSite:
    """Lists one battle for each kind of rubbish, which it sends for it, and good ones besides."""

    def __init__(self, good: dict[str, bytes]) -> None:
        """Take the good replays: of some ids, what there is to send."""
        self.asked: Counter[str] = Counter()
        self._good = good
        self._rubbish = {f"{FORMAT}-{n}": make() for n, make in enumerate(KINDS.values(), 1)}
        self.kinds = dict(zip(self._rubbish, KINDS, strict=True))
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> str:
        self._thread.start()
        start = asyncio.start_server(self._serve, "127.0.0.1", 0)
        self._server = asyncio.run_coroutine_threadsafe(start, self._loop).result()
        host, port = self._server.sockets[0].getsockname()
        return f"http://{host}:{port}"

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _stop(self) -> None:
        self._server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            path = head.split()[1].decode()
            writer.write(self._answer(path))
            await writer.drain()
            if self._kind(path) in NEVER_CLOSED:
                await reader.read()
        except (OSError, EOFError):
            # Whoever has read enough of it hangs up.
            pass
        finally:
            writer.close()

    def _answer(self, path: str) -> bytes:
        self.asked[path] += 1
        name = path.removeprefix("/").removesuffix(".json")
        if path.startswith("/robots.txt"):
            return reply(b"", status=b"404 Not Found")
        if path.startswith("/search.json"):
            return reply(self._search(is_second="before=" in path))
        return self._rubbish.get(name) or reply(self._good.get(name, b""))

    def _kind(self, path: str) -> str | None:
        return self.kinds.get(path.removeprefix("/").removesuffix(".json"))

    def _search(self, *, is_second: bool) -> bytes:
        """List all, fifty-one at a time, each in a second of its own."""
        ids = [*self.kinds, *self._good]
        rows = [{"id": id, "uploadtime": UPLOADED - n} for n, id in enumerate(ids)]
        return json.dumps(rows[50:] if is_second else rows[:51]).encode()
