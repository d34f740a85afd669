from __future__ import annotations

from copy import deepcopy

import pytest
from scrapy import Request
from scrapy.http import Response

from extensions.dead_letters import Failure
from extensions.lease import Lease, lease_of
from extensions.queue import Bury, Done, Leased, Return

URL = "http://site/page"


def lease_on(lane: int = 2, *, watcher: bytes = b"", **changes) -> Lease:
    fields = {b"url": URL.encode(), **({b"watcher": watcher} if watcher else {})}
    lease = Lease(Leased(lane, "1795294032999-0", fields), Request(URL))
    for name, value in changes.items():
        setattr(lease, name, value)
    return lease


def put_back(lease: Lease) -> Return:
    return Return(lease.leased, 2, {"url": URL}, 5.0)


@pytest.mark.parametrize(
    ("lease", "outcome"),
    [
        (lease_on(1), "followed"),
        (lease_on(2), "gone"),
        (lease_on(3), "gone"),
        (lease_on(1, items=1), "archived"),
        (lease_on(2, items=2), "archived"),
    ],
    ids=["a search", "a page", "a late page", "a search with an item", "a page with items"],
)
def test_a_request_that_went_well_is_done(lease, outcome):
    assert lease.operation() == Done(lease.leased, outcome)


def test_a_request_that_failed_is_buried_even_if_an_item_came_of_it():
    lease = lease_on(items=1, failure=Failure("HTTP 500", 500, "no"))
    lease.request.meta["retry_times"] = 2

    operation = lease.operation()

    assert isinstance(operation, Bury)
    letter = operation.letter
    assert (letter["reason"], letter["status"], letter["body"]) == ("HTTP 500", 500, "no")
    assert (letter["attempts"], letter["queued_at"]) == (3, 1795294033)


def test_a_request_that_is_put_back_is_not_buried():
    lease = lease_on(failure=Failure("HTTP 500"))
    lease.replacement = put_back(lease)

    assert lease.operation() is lease.replacement


@pytest.mark.parametrize("failure", [None, Failure("HTTP 500")], ids=["forgotten", "failed"])
def test_a_watch_that_was_not_put_back_is_repeated_in_a_minute(failure):
    lease = lease_on(1, watcher=b"gen9ou/*", failure=failure)

    operation = lease.operation()

    assert operation == Return(lease.leased, 1, {"url": URL, "watcher": "gen9ou/*"}, 60.0)


def test_a_watch_that_is_no_request_is_buried():
    lease = lease_on(1, watcher=b"\xff", request=None, failure=Failure("no request"))

    operation = lease.operation()

    assert isinstance(operation, Bury)
    assert operation.letter["attempts"] == 1


def test_a_lease_knows_the_name_of_its_watch():
    lease = lease_on()
    lease.request.meta["watcher"] = "gen9ou/*"

    assert lease.watcher == "gen9ou/*"
    assert (lease_on().watcher, lease_on(request=None).watcher) == (None, None)


def test_a_lease_stays_one_however_often_its_request_is_copied():
    lease = lease_on()

    copies = deepcopy({"queue_lease": lease, "other": [lease]})

    assert copies["queue_lease"] is copies["other"][0] is lease


def test_a_response_has_the_lease_of_its_request():
    lease = lease_on()
    lease.request.meta["queue_lease"] = lease

    assert lease_of(Response(URL, request=lease.request)) is lease


@pytest.mark.parametrize(
    "response",
    [None, Response(URL), Response(URL, request=Request(URL))],
    ids=["nothing", "no request", "a request without one"],
)
def test_anything_else_has_no_lease(response):
    assert lease_of(response) is None
