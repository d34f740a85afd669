from __future__ import annotations

import json
from contextlib import suppress
from functools import partial

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from scrapy import FormRequest, Request, Spider
from scrapy.http.request import NO_CALLBACK
from scrapy.spiders import CrawlSpider

from extensions.request_fields import (
    LARGEST,
    DecodeError,
    EncodeError,
    NewerEntryError,
    decode,
    encode,
)
from tests.conftest import examples

URL = "http://site/page"


class BaseSpider(Spider):
    def parse_base(self, response):
        """A callback of its own class."""


class PagesSpider(BaseSpider):
    name = "pages"
    handlers = [print]

    def parse(self, response):
        """Scrapy's default callback."""

    def parse_page(self, response, **kwargs):
        """A callback."""

    def failed(self, failure):
        """An errback."""

    def closed(self, reason):
        """Called by Scrapy when the crawl ends."""

    def _private(self, response):
        """Nobody's business."""

    @property
    def explosive(self):
        raise RuntimeError("a property was read")

    @staticmethod
    def parse_static(response):
        """A callback without a self."""


SPIDER = PagesSpider()


def raw(fields: dict[str, str]) -> dict[bytes, bytes]:
    return {name.encode(): value.encode() for name, value in fields.items()}


def attributes(request: Request) -> dict[str, object]:
    return {name: getattr(request, name) for name in Request.attributes}


def there_and_back(request: Request) -> Request:
    return decode(raw(encode(request, SPIDER)), SPIDER)


PASSING = ["queue_lease", "delay", "download_latency", "alive"]
"""Meta that says something of this process or this attempt only."""
IN_FIELDS = ["watcher", "family", "roster", "overdue"]
"""Meta that has a field of its own."""

# --- There and back -------------------------------------------------------------------------------

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=8,
)
# Hypothesis also draws words that stand in the code.
reserved = {*PASSING, *IN_FIELDS, "verbatim_url", "retry_times", "redirect_times"}
reserved |= {"put_off_times", "look_times", "max_retry_times"}
metas = st.dictionaries(texts.filter(lambda name: name not in reserved), values, max_size=4)
paths = st.text(st.characters(min_codepoint=33, max_codepoint=126) | st.sampled_from("éß"))
header_names = st.binary(min_size=1, max_size=10)
headers = st.dictionaries(header_names, st.lists(st.binary(max_size=20), max_size=3), max_size=3)
callbacks = st.sampled_from([None, SPIDER.parse, SPIDER.parse_page, SPIDER.parse_base])
cookies = st.dictionaries(texts, texts, max_size=3) | st.lists(
    st.fixed_dictionaries({"name": texts, "value": texts}), max_size=2
)

requests = st.builds(
    Request,
    paths.map("http://site/{}".format),
    method=st.sampled_from(["GET", "POST", "put", "HEAD"]),
    callback=callbacks,
    errback=st.sampled_from([None, SPIDER.failed]),
    headers=headers,
    body=st.binary(max_size=100),
    cookies=cookies,
    meta=metas,
    cb_kwargs=metas,
    priority=st.integers(-(2**63), 2**63),
    dont_filter=st.booleans(),
    flags=st.lists(texts, max_size=2),
    encoding=st.sampled_from(["utf-8", "latin-1", "UTF-8"]),
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(requests)
def test_a_request_comes_back_as_it_was(request_):
    back = there_and_back(request_)

    assert attributes(back) == attributes(request_)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(request_=requests)
def test_the_fields_are_text_that_the_json_of_redis_hands_back(request_, redis):
    fields = encode(request_, SPIDER)

    # As the queue's scripts do with what is delayed.
    back = redis.eval("return cjson.encode(cjson.decode(ARGV[1]))", 0, json.dumps(fields))

    assert json.loads(back) == fields
    assert "" not in fields.values()


def test_what_is_default_takes_no_field():
    fields = encode(Request(URL), SPIDER)

    assert fields == {"url": URL}


def test_fields_can_be_read_by_people():
    request = Request(
        URL,
        SPIDER.parse_page,
        method="POST",
        headers={"Accept": "text/html", "X-Two": ["1", "2"]},
        meta={"format": "gen9ou"},
        priority=-1,
        dont_filter=True,
    )

    fields = encode(request, SPIDER)

    assert fields == {
        "url": URL,
        "method": "POST",
        "callback": "parse_page",
        "headers": '{"Accept":"text/html","X-Two":["1","2"]}',
        "meta": '{"format":"gen9ou"}',
        "priority": "-1",
        "dont_filter": "1",
    }


@pytest.mark.parametrize("name", PASSING)
def test_meta_of_this_attempt_only_stays_behind(name):
    request = Request(URL, meta={name: 1.5, "kept": 1})

    back = there_and_back(request)

    assert back.meta == {"kept": 1}


def test_the_depth_of_a_request_travels():
    back = there_and_back(Request(URL, meta={"depth": 3}))

    assert back.meta["depth"] == 3


@pytest.mark.parametrize(
    ("meta", "more"),
    [
        ({"watcher": "gen9ou/*"}, {"watcher": "gen9ou/*"}),
        ({"family": "walk"}, {"family": "walk"}),
        ({"roster": "rooms"}, {"roster": "rooms", "v": "2"}),
        ({"overdue": True}, {"overdue": "1"}),
    ],
    ids=IN_FIELDS,
)
def test_what_the_queue_itself_reads_has_a_field_of_its_own(meta, more):
    fields = encode(Request(URL, meta=meta), SPIDER)

    assert fields == {"url": URL, **more}
    assert decode(raw(fields), SPIDER).meta == meta


@pytest.mark.parametrize("name", ["watcher", "family", "roster"])
@pytest.mark.parametrize("value", [None, ""], ids=["none", "empty"])
def test_no_watcher_family_or_roster_is_none(name, value):
    fields = encode(Request(URL, meta={name: value}), SPIDER)

    assert fields == {"url": URL}


def test_a_limit_of_retries_may_be_none():
    back = there_and_back(Request(URL, meta={"max_retry_times": None}))

    assert back.meta == {"max_retry_times": None}


def test_a_request_of_another_class_becomes_a_plain_one():
    back = there_and_back(FormRequest(URL, formdata={"a": "1"}))

    assert type(back) is Request
    assert (back.method, back.body) == ("POST", b"a=1")


def test_a_header_that_is_to_stay_unset_does():
    back = there_and_back(Request(URL, headers={"User-Agent": None}))

    assert back.headers.getlist("User-Agent") == []
    assert "User-Agent" in back.headers


def test_a_static_callback_is_one():
    back = there_and_back(Request(URL, SPIDER.parse_static))

    assert back.callback == SPIDER.parse_static


# --- What is refused at once ----------------------------------------------------------------------


def _function(response):
    """A function of nobody's."""


def unequal_type(**attributes) -> Request:
    """Build a request whose attributes were changed after Scrapy had looked at them."""
    request = Request(URL)
    for name, value in attributes.items():
        setattr(request, name, value)
    return request


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        (Request(URL, lambda _: None), "is no callback of the spider pages"),
        (Request(URL, _function), "is no callback of the spider pages"),
        (Request(URL, partial(SPIDER.parse_page, x=1)), "is no callback of the spider pages"),
        (Request(URL, PagesSpider().parse_page), "is no callback of the spider pages"),
        (Request(URL, SPIDER._private), "is no callback of the spider pages"),
        (Request(URL, SPIDER.closed), "is no callback of the spider pages"),
        (Request(URL, NO_CALLBACK), "is no callback of the spider pages"),
        (Request(URL, errback=print), "is no callback of the spider pages"),
        (Request(URL, meta={"page": object()}), "is not JSON: Object of type object"),
        (Request(URL, meta={("a", 1): 1}), "is not JSON: keys must be str"),
        (Request(URL, cb_kwargs={"ids": {1, 2}}), "is not JSON: Object of type set"),
        (Request(URL, meta={"log": b"bytes"}), "is not JSON: Object of type bytes"),
        (Request(URL, cookies={"a": b"1"}), "is not JSON: Object of type bytes"),
        (Request(URL, flags=[object()]), "is not JSON: Object of type object"),
        (unequal_type(priority=1.5), "priority is 1.5"),
        (unequal_type(priority="high"), "priority is 'high'"),
        (unequal_type(priority=2**63 + 1), "priority is 9223372036854775809"),
        (Request(URL, meta={"watcher": 5}), "watcher is int"),
        (Request(URL, meta={"family": 5}), "family is int"),
        (Request(URL, meta={"roster": 5}), "roster is int"),
        (Request(URL, meta={"delay": "soon"}), "delay is str"),
        (Request(URL, meta={"delay": float("nan")}), "delay is nan"),
        (Request(URL, meta={"delay": float("inf")}), "delay is inf"),
        (Request(URL, meta={"retry_times": "2"}), "retry_times is str"),
        (Request(URL, meta={"name": "\ud800"}), "surrogates not allowed"),
        (Request(URL, body=b"x" * LARGEST), "takes 1398127 bytes; 1048576 are allowed"),
        (Request(URL, meta={"x": "€" * (LARGEST // 3)}), "bytes; 1048576 are allowed"),
    ],
    ids=[
        "lambda",
        "function",
        "partial",
        "another spider's",
        "private",
        "hook",
        "no callback",
        "errback",
        "object",
        "key",
        "set",
        "bytes",
        "cookie",
        "flag",
        "fraction",
        "word",
        "huge priority",
        "watcher",
        "family",
        "roster",
        "delay",
        "never",
        "for ever",
        "retries",
        "half a surrogate pair",
        "too large",
        "too large in bytes",
    ],
)
def test_what_no_other_worker_could_read_is_refused(request_, reason):
    with pytest.raises(EncodeError) as caught:
        encode(request_, SPIDER)

    assert reason in str(caught.value)
    assert URL in str(caught.value)


def test_meta_nested_too_deeply_is_refused():
    nested: list = []
    for _ in range(100_000):
        nested = [nested]

    with pytest.raises(EncodeError, match="recursion"):
        encode(Request(URL, meta={"nested": nested}), SPIDER)

    # Python would take it apart recursively at the end of the test.
    while nested:
        nested = nested.pop()


def test_the_largest_request_that_can_be_written_can_be_read():
    request = Request(URL, meta={"x": "€"})
    spare = LARGEST - sum(len(n) + len(v.encode()) for n, v in encode(request, SPIDER).items())
    request.meta["x"] += "x" * spare

    back = there_and_back(request)

    assert len(back.meta["x"]) == spare + 1


# --- What hostile entries do ----------------------------------------------------------------------

DEEP = "[" * 100_000


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({}, "it has no url"),
        ({"url": ""}, "it has no url"),
        ({"url": "no scheme"}, "Missing scheme in request url"),
        ({"url": "http://[half"}, "Invalid IPv6 URL"),
        ({"callback": "nowhere"}, "the spider pages has no callback 'nowhere'"),
        ({"callback": ""}, "the spider pages has no callback ''"),
        ({"callback": "__class__"}, "no callback '__class__'"),
        ({"callback": "_private"}, "no callback '_private'"),
        ({"callback": "closed"}, "no callback 'closed'"),
        ({"callback": "close"}, "no callback 'close'"),
        ({"callback": "start"}, "no callback 'start'"),
        ({"callback": "start_requests"}, "no callback 'start_requests'"),
        ({"callback": "update_settings"}, "no callback 'update_settings'"),
        ({"callback": "from_crawler"}, "no callback 'from_crawler'"),
        ({"callback": "handles_request"}, "no callback 'handles_request'"),
        ({"callback": "log"}, "no callback 'log'"),
        ({"callback": "explosive"}, "no callback 'explosive'"),
        ({"callback": "name"}, "no callback 'name'"),
        ({"callback": "handlers"}, "no callback 'handlers'"),
        ({"errback": "closed"}, "no callback 'closed'"),
        ({"callback": "x" * 500}, "no callback '" + "x" * 100 + "'"),
        ({"meta": "[]"}, "meta is list"),
        ({"meta": "{"}, "Expecting property name"),
        ({"meta": DEEP}, "recursion"),
        ({"meta": '{"retry_times":"2"}'}, "retry_times is str"),
        ({"meta": '{"retry_times":-1}'}, "retry_times is -1"),
        ({"meta": f'{{"retry_times":1{"0" * 400}}}'}, "retry_times is 1000"),
        ({"meta": '{"redirect_times":null}'}, "redirect_times is NoneType"),
        ({"meta": '{"put_off_times":1.5}'}, "put_off_times is float"),
        ({"meta": '{"look_times":{}}'}, "look_times is dict"),
        ({"meta": '{"max_retry_times":[]}'}, "max_retry_times is list"),
        ({"cb_kwargs": "5"}, "cb_kwargs is int"),
        ({"headers": "[]"}, "headers is list"),
        ({"headers": '{"a":5}'}, "'int' object has no attribute 'encode'"),
        ({"headers": '{"a":"€"}'}, "codec can't encode"),
        ({"cookies": '"a=1"'}, "cookies is str"),
        ({"flags": "{}"}, "flags is dict"),
        ({"body": "*not base64*"}, "Only base64 data is allowed"),
        ({"priority": "abc"}, "invalid literal for int"),
        ({"priority": "1" + "0" * 30}, "priority is 1000"),
        ({"priority": "9" * 5000}, "Exceeds the limit"),
        ({"encoding": "klingon"}, "unknown encoding: klingon"),
        ({"encoding": "hex"}, "not a text encoding"),
        ({"encoding": "a\0b"}, "null"),
        ({"meta": '"' + "x" * LARGEST}, f"bytes; {LARGEST} are allowed"),
        ({"x" * LARGEST: ""}, f"bytes; {LARGEST} are allowed"),
        ({"encoding": "two\nlines\x1b[31m"}, "unknown encoding: two?lines?[31m"),
    ],
    ids=lambda value: None if isinstance(value, dict) else value[:40],
)
def test_an_entry_that_is_no_request_is_refused_with_the_reason(fields, reason):
    entry = raw({"url": URL} | fields if fields else {})

    with pytest.raises(DecodeError) as caught:
        decode(entry, SPIDER)

    message = str(caught.value)
    assert reason in message
    assert "\n" not in message
    assert len(message) < 500


@pytest.mark.parametrize(
    "entry",
    [{b"url": b"\xff"}, {b"url": URL.encode(), b"\xff": b""}, {b"url": b"http://site/\xc3"}],
    ids=["value", "name", "torn"],
)
def test_an_entry_that_is_no_text_is_refused(entry):
    with pytest.raises(DecodeError, match="can't decode byte"):
        decode(entry, SPIDER)


def test_ten_megabytes_are_refused_before_they_are_looked_at():
    entry = {b"url": URL.encode(), b"meta": b"[" * 10_000_000}

    with pytest.raises(DecodeError, match="the entry has 10000023 bytes; 1048576 are allowed"):
        decode(entry, SPIDER)


@pytest.mark.parametrize("name", [*PASSING, *IN_FIELDS])
def test_an_entry_cannot_smuggle_in_meta_that_this_process_sets(name):
    entry = raw({"url": URL, "meta": json.dumps({name: "smuggled"})})

    request = decode(entry, SPIDER)

    assert request.meta == {}


def test_names_of_later_versions_are_passed_over():
    request = decode(raw({"url": URL, "invented_later": "1"}), SPIDER)

    assert request.url == URL


names = ["url", "method", "callback", "errback", "headers", "body", "cookies", "meta", "cb_kwargs"]
names += ["priority", "dont_filter", "flags", "encoding", "watcher"]
known = st.sampled_from(names).map(str.encode)
json_values = values.map(lambda value: json.dumps(value).encode())
members = st.sampled_from(dir(PagesSpider)).map(str.encode)
plausible = json_values | members | texts.map(str.encode) | st.binary(max_size=40)


@settings(max_examples=examples(300), deadline=None)
@given(st.dictionaries(known | st.binary(max_size=10), plausible, max_size=8))
@example({b"v": b"3"})
def test_whatever_an_entry_holds_it_is_a_request_or_a_clear_error(entry):
    entry = {b"url": URL.encode(), **entry}

    with suppress(DecodeError, NewerEntryError):
        request = decode(entry, SPIDER)

        # What could be read can be written, so that it can be tried again.
        assert decode(raw(encode(request, SPIDER)), SPIDER).url == request.url


class _RuleSpider(CrawlSpider):
    name = "rules"


@pytest.mark.parametrize("name", ["_callback", "_errback"])
def test_a_crawl_spiders_own_callbacks_come_back(name):
    spider = _RuleSpider()
    request = Request(URL, callback=getattr(spider, name))

    assert decode(raw(encode(request, spider)), spider).callback == getattr(spider, name)
