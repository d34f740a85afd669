from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scrapy import Request
from scrapy.utils.request import RequestFingerprinter

from extensions.keys import SEEN_BUCKETS, QueueKeys
from extensions.queue import Add, RequestQueue
from extensions.seen import Seen


class Fixed:
    """A fingerprinter that always says the same."""

    def __init__(self, mark: bytes) -> None:
        self.mark = mark

    def fingerprint(self, _request: Request) -> bytes:
        return self.mark


@pytest.mark.parametrize(
    ("mark", "bucket", "number"),
    [
        ("0000000000000000", 0, 0),
        ("ffffffffffffffff", 4095, -1),
        ("7fffffffffffffff", 2047, 2**63 - 1),
        ("8000000000000000", 2048, -(2**63)),
        ("0102030405060708", 13060, 0x0102030405060708),
    ],
)
def test_a_request_is_placed_by_the_first_8_bytes_of_its_fingerprint(mark, bucket, number):
    seen = Seen(Fixed(bytes.fromhex(mark) + b"the rest does not count"))

    place = seen.place(Request("http://site/"))

    assert place == (bucket, str(number))


@given(st.binary(min_size=20, max_size=20))
def test_any_fingerprint_is_an_exact_64_bit_integer_in_a_bucket_that_exists(mark):
    bucket, number = Seen(Fixed(mark)).place(Request("http://site/"))

    assert 0 <= bucket < SEEN_BUCKETS
    assert int(number).to_bytes(8, signed=True) == mark[:8]


def test_one_request_has_one_place_and_another_has_another():
    seen = Seen(RequestFingerprinter())

    paths = ("a?x=1&y=2", "a?y=2&x=1", "b")
    places = [seen.place(Request(f"http://site/{path}")) for path in paths]

    assert places[0] == places[1] != places[2]


def test_buckets_fill_evenly():
    seen = Seen(RequestFingerprinter())

    filled = Counter(seen.place(Request(f"http://site/{n}"))[0] for n in range(80_000))

    assert len(filled) > SEEN_BUCKETS * 0.85
    assert max(filled.values()) < 15


def test_a_bucket_of_500_is_a_plain_array_of_integers(redis):
    queue = RequestQueue(redis, "test", worker="a")
    queue.open()
    extremes = [-(2**63), 2**63 - 1]
    numbers = [*extremes, *range(498)]

    queue.commit([Add(2, {"url": "u"}, seen=(7, str(number))) for number in numbers])

    bucket = QueueKeys("test").seen(7)
    assert redis.object("encoding", bucket) == b"intset"
    assert {int(number) for number in redis.smembers(bucket)} == set(numbers)
