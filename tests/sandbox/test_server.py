"""The sandbox over HTTP."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
import requests

from sandbox.misbehave import GARBAGE
from sandbox.site import ReplaySite

CAPTURED = Path(__file__).parents[1] / "cassettes" / "search"
TIMEOUT = 10
LOCKED = {"private": 1, "password": "secret"}


def get(url: str, **parameters: str) -> requests.Response:
    return requests.get(url, params=parameters, timeout=TIMEOUT)


@pytest.fixture
def small(make) -> ReplaySite:
    """One public battle, a hidden one, and one with a password."""
    return ReplaySite(
        [
            make(1, 1001, log='"|win|A ☕\\n"'.encode(), players=["A ☕", "B"]),
            make(2, 1002, private=2),
            make(3, 1003, **LOCKED),
        ]
    )


def test_a_search_answers_json_that_anybody_may_read(serve, small):
    response = get(f"{serve(small)}/search.json")

    assert response.status_code == 200
    assert response.headers["Content-Type"] == "application/json"
    assert response.headers["Access-Control-Allow-Origin"] == "*"
    assert response.json() == [
        {
            "uploadtime": 1001,
            "id": "gen9ou-1",
            "format": "[Gen 9] OU",
            "players": ["A ☕", "B"],
            "rating": None,
        }
    ]


def test_a_search_passes_its_parameters_on(serve, site):
    response = get(f"{serve()}/search.json", format="[Gen 9] OU", user="AceTrainer22")

    assert response.json() == site.search({"format": "gen9ou", "user": "acetrainer22"})
    assert response.json() != []


def test_nothing_found_is_an_empty_list(serve):
    response = get(f"{serve()}/search.json", user="nobodyatall")

    assert (response.status_code, response.content) == (200, b"[]")


def test_no_answer_asks_to_be_cached_or_is_compressed(serve):
    response = get(f"{serve()}/search.json")

    assert {"Cache-Control", "ETag", "Last-Modified", "Content-Encoding"}.isdisjoint(
        response.headers
    )


@pytest.mark.parametrize(
    ("parameters", "body"),
    [
        ({"page": "0"}, b']{"actionerror":"Invalid page number: 0"}'),
        ({"sort": "zzz"}, b']{"actionerror":"Sort must be \\"rating\\" or \\"date\\""}'),
        ({"user": "a,b,c"}, b']{"actionerror":"Limit 2 usernames in a search"}'),
        (
            {"page": "1", "before": "9"},
            (
                b']{"actionerror":"Cannot set both \\"page\\" and \\"before\\", please choose one'
                b' method of pagination"}'
            ),
        ),
    ],
    ids=["page", "sort", "users", "page and before"],
)
def test_an_error_has_status_200_and_is_no_json(serve, parameters, body):
    response = get(f"{serve()}/search.json", format="gen9ou", **parameters)

    assert response.status_code == 200
    assert response.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert response.content == body


def test_a_replay_answers_json(serve, small):
    response = get(f"{serve(small)}/gen9ou-1.json")

    assert response.headers["Content-Type"] == "application/json"
    assert response.json()["log"] == "|win|A ☕\n"
    assert response.json()["views"] == "0"


def test_a_log_answers_text(serve, small):
    response = get(f"{serve(small)}/gen9ou-1.log")

    assert response.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert response.content == "|win|A ☕\n".encode()


@pytest.mark.parametrize(
    "path", ["gen9ou-9.json", "gen9ou-9.log", "GEN9OU-1.json", "gen9ou-3.json"]
)
def test_an_unknown_id_is_404_without_a_body(serve, small, path):
    response = get(f"{serve(small)}/{path}")

    assert (response.status_code, response.content) == (404, b"")
    assert response.headers["Content-Type"] == "text/plain; charset=utf-8"


@pytest.mark.parametrize(("id", "code"), [("gen9ou-2", 2), ("gen9ou-3-secretpw", 1)])
def test_a_private_battle_answers_to_who_knows_its_id(serve, small, id, code):
    assert get(f"{serve(small)}/{id}.json").json()["private"] == code


def test_robots_are_welcome(serve):
    assert get(f"{serve()}/robots.txt").text == "User-agent: *\nAllow: /\n"


def test_each_request_is_logged_with_its_status(serve, small):
    log = io.StringIO()
    address = serve(small, log)

    for path in ("/search.json?user=a", "/gen9ou-9.json", "/", "/robots.txt"):
        get(f"{address}{path}")

    entries = [json.loads(line) for line in log.getvalue().splitlines()]
    assert [(entry["path"], entry["status"]) for entry in entries] == [
        ("/search.json?user=a", 200),
        ("/gen9ou-9.json", 404),
        ("/", 404),
        ("/robots.txt", 200),
    ]
    assert [entry["time"] for entry in entries] == sorted(entry["time"] for entry in entries)


def test_garbage_is_html_with_status_200(serve):
    response = get(f"{serve(garbage=1.0)}/search.json")

    assert (response.status_code, response.content) == (200, GARBAGE)
    assert response.headers["Content-Type"].startswith("text/html")


def test_a_truncated_reply_is_the_beginning_of_the_whole(serve, small):
    whole = get(f"{serve(small)}/search.json").content

    torn = get(f"{serve(small, truncated=1.0)}/search.json")

    assert (torn.status_code, torn.content) == (200, whole[: len(whole) * 2 // 3])


def test_a_truncated_404_is_a_404(serve, small):
    response = get(f"{serve(small, truncated=1.0)}/gen9ou-9.json")

    assert (response.status_code, response.content) == (404, b"")


@pytest.mark.parametrize(
    ("wrong", "status", "retry_after"),
    [
        ({}, 503, None),
        ({"status": 429, "retry_after": "30"}, 429, "30"),
    ],
    ids=["unavailable", "too many"],
)
def test_a_refusal_has_the_status_and_the_wait_that_were_asked_for(
    serve, wrong, status, retry_after
):
    response = get(f"{serve(refused=1.0, **wrong)}/search.json")

    assert (response.status_code, response.headers.get("Retry-After")) == (status, retry_after)


def test_robots_are_answered_whatever_goes_wrong(serve):
    assert get(f"{serve(refused=1.0)}/robots.txt").status_code == 200


def test_a_latency_delays_an_answer_and_leaves_it_as_it_is(serve, site):
    response = get(f"{serve(latency=0.001)}/search.json")

    assert response.json() == site.search({})


def test_the_same_seed_refuses_the_same_requests(serve):
    first, second = serve(refused=0.5, seed=3), serve(refused=0.5, seed=3)

    statuses = [
        [get(f"{address}/search.json").status_code for _ in range(20)]
        for address in (first, second)
    ]

    assert statuses[0] == statuses[1]
    assert set(statuses[0]) == {200, 503}


def test_what_goes_wrong_can_be_changed_while_the_site_runs(serve):
    address = serve(refused=1.0)

    changed = requests.put(
        f"{address}/_sandbox/misbehave", json={"refused": 0, "garbage": 1}, timeout=TIMEOUT
    )

    assert changed.status_code == 200
    assert "garbage=1" in changed.text
    assert get(f"{address}/search.json").content == GARBAGE


@pytest.mark.parametrize(
    ("battle_id", "status"), [("gen9ou-2", 200), ("gen9ou-9", 404)], ids=["private", "unknown"]
)
def test_a_battle_can_be_made_public_while_the_site_runs(serve, small, battle_id, status):
    address = serve(small, refused=1.0)

    saved = requests.put(
        f"{address}/_sandbox/replay/{battle_id}", json={"private": 0}, timeout=TIMEOUT
    )

    assert saved.status_code == status
    assert (battle_id in small.public_ids) == (status == 200)


def test_nothing_else_of_a_battle_can_be_changed(serve, small):
    address = f"{serve(small)}/_sandbox/replay/gen9ou-2"

    assert requests.put(address, json={"log": "|win|me"}, timeout=TIMEOUT).status_code == 400


def test_a_battle_can_be_deleted_while_the_site_runs(serve, small):
    address, battle_id = serve(small), min(small.public_ids)

    statuses = [
        requests.delete(f"{address}/_sandbox/replay/{battle_id}", timeout=TIMEOUT).status_code
        for _ in range(2)
    ]

    assert statuses == [200, 404]
    assert get(f"{address}/{battle_id}.json").status_code == 404
    assert battle_id not in get(f"{address}/search.json").text


@pytest.mark.parametrize(
    "body",
    [b"", b"no JSON", b"[]", b"null", b'{"shape": 1}', b'{"garbage": 2}', b'{"garbage": "x"}'],
    ids=repr,
)
def test_a_change_that_makes_no_sense_changes_nothing(serve, body):
    address = serve()

    refused = requests.put(f"{address}/_sandbox/misbehave", data=body, timeout=TIMEOUT)

    assert refused.status_code == 400
    assert get(f"{address}/search.json").status_code == 200


def test_a_time_that_the_database_does_not_take_is_a_500(serve, small):
    assert get(f"{serve(small)}/search.json", before="1.5").status_code == 500


def test_of_what_is_asked_twice_the_last_counts(serve, small):
    address = serve(small)

    twice = get(f"{address}/search.json?user=nobodyatall&user=A")

    assert twice.json() == get(f"{address}/search.json", user="A").json() != []


@pytest.mark.parametrize(
    "name",
    [
        *("bad_page", "bad_page2", "bad_sort", "contains_more", "page_before", "three_users"),
        *("page101", "empty_user"),
    ],
)
def test_an_odd_query_is_answered_to_the_letter_as_it_was_by_the_real_site(serve, small, name):
    request, _, rest = (CAPTURED / f"{name}.txt").read_text("utf-8").partition("\n\n")
    head, _, body = rest.partition("\n\n")

    response = get(f"{serve(small)}/search.json?{request.partition('?')[2]}")

    assert (response.status_code, response.text) == (200, body.strip())
    assert f"Content-Type: {response.headers['Content-Type'].partition(';')[0]}" in head
