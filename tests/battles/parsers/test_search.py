"""Pages of the replay search."""

from __future__ import annotations

import json
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from battles.parsers.names import is_battle_id
from battles.parsers.reply import BadReplyError, RefusedError
from battles.parsers.search import Row, parse_search


def page_of(*entries: object) -> bytes:
    return json.dumps(entries).encode()


def whole_rows(body: bytes) -> bytes:
    """Close a page that was cut in the middle of a row."""
    return body[: body.rindex(b"},") + 1] + b"]"


@pytest.mark.parametrize(
    ("name", "count", "newest", "oldest"),
    [
        ("search/format_page2", 13, 1795286036, 1795286009),
        ("search/user", 8, 1795286091, 1795286052),
        ("search/user2", 8, 1795286091, 1795286052),
    ],
)
def test_a_captured_page_is_read_whole(captured, name, count, newest, oldest):
    page = parse_search(captured(name))

    assert (len(page.rows), page.newest, page.oldest) == (count, newest, oldest)
    assert not page.has_more
    assert page.unusable == 0


@pytest.mark.parametrize("name", ["search/empty", "search/empty_user", "search/page101"])
def test_a_page_without_rows_has_no_times(captured, name):
    page = parse_search(captured(name))

    assert page.rows == ()
    assert (page.newest, page.oldest) == (None, None)
    assert not page.has_more


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("search/format", 19),
        ("search/format_before", 19),
        ("search/bad_before", 19),
        ("search/recent", 23),
        ("search/recent_before", 23),
    ],
)
def test_a_captured_page_of_any_list_is_read_as_far_as_it_goes(captured, name, count):
    page = parse_search(whole_rows(captured(name)))

    assert len(page.rows) == count
    assert [row.uploaded for row in page.rows] == sorted(
        (row.uploaded for row in page.rows), reverse=True
    )


def test_rows_keep_the_order_and_spelling_of_the_site(captured):
    page = parse_search(captured("search/user"))

    assert page.rows[0] == Row("gen1randombattle-335", 1795286091)


@pytest.mark.parametrize(("count", "has_more"), [(50, False), (51, True)])
def test_a_row_beyond_the_fiftieth_means_more(count, has_more):
    entries = [{"id": f"gen9ou-{n}", "uploadtime": 100} for n in range(count)]

    page = parse_search(page_of(*entries))

    assert page.has_more is has_more


@pytest.mark.parametrize(
    "entry",
    [
        pytest.param({"id": "gen9ou-1", "uploadtime": 9, "private": 1}, id="private"),
        pytest.param({"id": "gen9ou-1", "uploadtime": 9, "private": "0"}, id="a code as text"),
        pytest.param({"id": "../1", "uploadtime": 9, "private": 0}, id="no battle"),
        pytest.param({"id": 1, "uploadtime": 9}, id="a number for an id"),
        pytest.param({"id": "gen9ou-1"}, id="no time"),
        pytest.param({"id": "gen9ou-1", "uploadtime": 10**12}, id="a time that cannot be"),
        pytest.param({"id": "gen9ou-1", "uploadtime": -1}, id="a time before all"),
        pytest.param({"id": "gen9ou-1", "uploadtime": True}, id="a truth for a time"),
        pytest.param("gen9ou-1", id="no object"),
        pytest.param(None, id="null"),
    ],
)
def test_a_row_that_names_no_public_battle_is_left_out_and_counted(entry):
    page = parse_search(page_of({"id": "gen9ou-2", "uploadtime": 9, "private": 0}, entry))

    assert page.rows == (Row("gen9ou-2", 9),)
    assert page.unusable == 1


def test_a_private_row_still_tells_where_the_page_ends():
    page = parse_search(
        page_of(
            {"id": "gen9ou-2", "uploadtime": 9},
            {"id": "gen9ou-1", "uploadtime": 7, "private": 2},
        )
    )

    assert (page.newest, page.oldest) == (9, 7)


@pytest.mark.parametrize("body", [b'{"rows":[]}', b"[1]", b"[[]]", b"[null]"])
def test_what_is_no_list_of_replays_is_bad(body):
    with pytest.raises(BadReplyError, match=r"not a list of replays|none with an upload time"):
        parse_search(body)


def test_an_error_of_the_site_is_refused(captured):
    with pytest.raises(RefusedError, match="Invalid page number: 0"):
        parse_search(captured("search/bad_page"))


rubbish = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters())
    | st.text(st.characters(categories=["Cs", "Cc"])),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)
entries = st.fixed_dictionaries(
    {},
    optional={
        "id": st.sampled_from(["gen9ou-1", "ou-2", "gen9ou-1-pw", "\ud800-1"]) | rubbish,
        "uploadtime": st.integers(0, 2**31) | rubbish,
        "private": st.sampled_from([0, 1]) | rubbish,
    },
)


@settings(deadline=None)
@given(st.lists(entries | rubbish, max_size=60))
def test_any_list_is_a_page_of_public_battles_or_bad(values):
    try:
        page = parse_search(page_of(*values))
    except BadReplyError:
        assert values
        return

    assert len(page.rows) + page.unusable == len(values)
    assert all(is_battle_id(row.id) for row in page.rows)
    assert all(page.oldest <= row.uploaded <= page.newest for row in page.rows)


@settings(deadline=None)
@given(rubbish)
def test_any_json_is_a_page_or_a_known_error(value):
    body = json.dumps(value).encode()

    with suppress(BadReplyError, RefusedError):
        assert parse_search(body).unusable >= 0
