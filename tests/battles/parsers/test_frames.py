"""Frames of the battle server: as it sent them, and as it never would.

`frames.jsonl` holds those of the real server.
"""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from battles.parsers.frames import (
    SHOWN,
    Room,
    RoomReader,
    is_throttled,
    parse_battle_count,
    parse_formats,
    parse_notice,
    parse_query,
    parse_room_list,
    room_of,
    split_frame,
)
from battles.parsers.names import is_battle_id
from battles.parsers.reply import BadReplyError

_RECORDED = Path(__file__).with_name("frames.jsonl")
INIT = ["|init|battle", "|title|A vs. B", "|j|☆A"]
NOTICE = (
    '|raw|<strong class="message-throttle-notice">'
    "Your message was not sent because you've been typing too quickly.</strong>"
)


@pytest.fixture(scope="session")
def frames() -> dict[str, list[str]]:
    lines = _RECORDED.read_text(encoding="utf-8").splitlines()
    return {scene["name"]: scene["frames"] for scene in map(json.loads, lines)}


def follow(*frames: str) -> RoomReader:
    """Read the frames of one room."""
    reader = RoomReader()
    for frame in frames:
        reader.feed(split_frame(frame)[1])
    return reader


def reader_of(*lines: str) -> RoomReader:
    """Read what follows the joining of a room."""
    reader = RoomReader()
    reader.feed([*INIT, *lines])
    return reader


# --- Frames ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("frame", "room", "lines"),
    [
        (">battle-gen9ou-9\n|turn|1\n|", "battle-gen9ou-9", ["|turn|1", "|"]),
        (">battle-gen9ou-9", "battle-gen9ou-9", [""]),
        ("|popup|no\nway", "", ["|popup|no", "way"]),
        (">\n|x", "", ["|x"]),
        ("", "", [""]),
        (">battle-gen9o", "battle-gen9o", [""]),
        ("|turn|1\n>battle-gen9ou-9", "", ["|turn|1", ">battle-gen9ou-9"]),
    ],
    ids=["of a room", "empty", "of none", "of no name", "nothing", "half", "a name too late"],
)
def test_a_frame_is_for_the_room_in_its_first_line(frame, room, lines):
    assert split_frame(frame) == (room, lines)


def test_a_frame_of_ten_megabytes_is_read():
    turns = [f"|turn|{n}|{'x' * 100}" for n in range(100_000)]

    reader = follow("\n".join([">battle-gen9ou-9", "|init|battle", *turns, "|win|A"]))

    assert (reader.state, len(reader.lines)) == ("ended", 100_001)


# --- Answers --------------------------------------------------------------------------------------


def test_the_answer_to_an_unknown_question_holds_nothing(frames):
    [frame] = frames["an unknown question"]

    assert parse_query(frame) == ("nosuch", None)


@pytest.mark.parametrize(
    "text",
    ["", "{", '{"rooms":{"battle-', "[" * 100_000, "9" * 5000, "not found"],
    ids=["nothing", "a bracket", "half", "too deep", "a number without end", "text"],
)
def test_an_answer_that_is_no_json_holds_nothing(text):
    assert parse_query(f"|queryresponse|roomlist|{text}") == ("roomlist", None)


@pytest.mark.parametrize(
    "line", ["", "|", "|turn|1", "|queryresponse", "|queryresponse|rooms", "queryresponse|a|1"]
)
def test_what_is_no_answer_is_none(line):
    assert parse_query(line) is None


def test_the_real_formats_are_read_without_their_sections(frames):
    [line] = frames["formats"]

    formats = parse_formats(line)

    assert len(formats) == len(set(formats)) == 334
    assert {"gen9ou", "gen1ou", "gen9championsvgc2026regmbbo3", "gen7letsgoou"} <= set(formats)
    assert "gen6randombattleb12p6noteampreview" in formats
    assert not {"svsingles", "pastgensou", "orasdoublestriples", "ll"} & set(formats)


@pytest.mark.parametrize(
    ("line", "formats"),
    [
        ("|formats|", []),
        ("|formats|,1|Only a section", []),
        ("|formats|,1|A|[Gen 9] OU", []),
        ("|formats|,1|A|[Gen 9] OU,e|[Gen 9] U", ["gen9ou"]),
        ("|formats|[Gen 9] OU,e", ["gen9ou"]),
        ("|formatsx|[Gen 9] OU,e", None),
        ("[Gen 9] OU,e", None),
    ],
    ids=["none", "a section", "no code", "half", "no section", "another type", "no type"],
)
def test_formats_are_read_as_far_as_they_go(line, formats):
    assert parse_formats(line) == formats


def test_a_real_list_names_the_rooms_their_ratings_and_players(frames):
    [frame] = frames["a list of rated battles"]

    found = parse_room_list(parse_query(frame)[1])

    assert found.rooms[0] == Room("gen9randombattle-9", 1000, ("botexoh5b", "botvpxw4b"))
    assert (len(found.rooms), found.shown, found.is_full) == (4, 4, False)


def test_a_real_list_of_a_hundred_is_full(frames):
    [frame] = frames["a full list"]

    found = parse_room_list(parse_query(frame)[1])

    assert found.rooms[0] == Room("gen1randombattle-124", None, ("botvyps113a", "botvyps113b"))
    assert (len(found.rooms), found.shown, found.is_full) == (SHOWN, SHOWN, True)


def test_a_row_that_names_no_public_battle_still_counts_as_shown():
    names = ["lobby", "battle-gen9ou-1-abcdefpw", "battle-", "battle-../1", "gen9ou-3"]
    rooms = {name: {} for name in [*names, "battle-gen9ou-2"]}

    found = parse_room_list({"rooms": rooms})

    assert found.rooms == (Room("gen9ou-2", None),)
    assert found.shown == 6


@pytest.mark.parametrize("elo", ["1000", None, True, 1000.5, [1000]], ids=repr)
def test_a_rating_that_is_no_whole_number_is_none(elo):
    found = parse_room_list({"rooms": {"battle-gen9ou-2": {"minElo": elo}}})

    assert found.rooms == (Room("gen9ou-2", None),)


@pytest.mark.parametrize(
    ("facts", "players"),
    [
        ({"p1": "Ann!", "p2": "B O B"}, ("ann", "bob")),
        ({"p2": "Bob"}, ("bob",)),
        ({"p1": "Ann", "p2": None, "p3": "Eve", "p4": "Dan"}, ("ann",)),
        ({"p1": 1, "p2": ["Bob"]}, ()),
        (None, ()),
        ("p1", ()),
    ],
    ids=["both", "one", "the first two", "no names", "nothing", "text"],
)
def test_the_first_two_players_are_known_by_their_ids(facts, players):
    found = parse_room_list({"rooms": {"battle-gen9ou-2": facts}})

    assert found.rooms == (Room("gen9ou-2", None, players),)


@pytest.mark.parametrize("value", [None, [], "rooms", 1, {}, {"rooms": []}, {"rooms": None}])
def test_what_is_no_list_is_bad(value):
    with pytest.raises(BadReplyError, match="not a list of rooms but"):
        parse_room_list(value)


def test_the_real_number_of_battles_is_read(frames):
    [frame] = frames["the number of battles"]

    assert parse_battle_count(parse_query(frame)[1]) == 121


@pytest.mark.parametrize("count", [None, "121", -1, True, 1.5, []], ids=repr)
def test_a_number_of_battles_that_cannot_be_is_none(count):
    assert parse_battle_count({"battleCount": count}) is None
    assert parse_battle_count(count) is None


def test_a_message_that_was_thrown_away_is_noticed():
    assert is_throttled(["|x", NOTICE])
    assert not is_throttled(["|raw|<strong>Hello</strong>"])


def test_a_room_is_named_after_its_battle():
    assert room_of("gen9ou-9") == "battle-gen9ou-9"


# --- Rooms ----------------------------------------------------------------------------------------


def test_a_room_that_is_joined_has_the_whole_log_so_far(frames):
    reader = follow(frames["a room that expires"][0])

    assert reader.state == "running"
    assert not reader.is_complete
    assert reader.lines[:2] == ["|j|☆ExpA", "|j|☆ExpB"]
    assert "|turn|1" in reader.lines


def test_what_follows_the_end_of_a_battle_still_matters(frames):
    reader = follow(*frames["a room that expires"][:3])

    assert (reader.state, reader.is_complete) == ("ended", False)
    assert reader.lines[-1] == "|win|ExpB"


def test_a_battle_stays_ended_when_its_room_expires(frames):
    reader = follow(*frames["a room that expires"][:7])

    assert (reader.state, reader.is_expired) == ("ended", True)
    assert reader.lines[-2:] == ["|player|p1|", "|l|☆ExpB"]


def test_a_battle_can_be_hidden_when_both_new_ratings_are_known(frames):
    reader = follow(*frames["a rated battle"])
    before = reader.state, reader.is_complete

    reader.feed(["|deinit"])

    assert before == ("ended", False)
    assert (reader.state, reader.is_complete) == ("hidden", True)
    assert reader.lines[-1].startswith("|raw|TimA's rating: 1000 &rarr; <strong>1045</strong>")


def test_a_room_that_is_hidden_while_it_is_watched_is_hidden(frames):
    reader = follow(*frames["a room that is hidden"][:2])

    assert (reader.state, reader.is_complete) == ("hidden", True)


@pytest.mark.parametrize(
    ("line", "state"),
    [
        ('|noinit|nonexistent|The room "battle-gen9ou-9" does not exist.', "gone"),
        ("|noinit|namerequired|The room 'staff' does not exist or requires a login.", "hidden"),
        ('|noinit|joinfailed|The room "staff" is invite-only.', "refused"),
        ("|noinit|rename|battle-gen9ou-9-5qdkn9be0sgpy3bdl37ox8u40py08mypw|A vs. B", "hidden"),
        ("|noinit||You can only join 50 rooms at a time.", "full"),
        ("|noinit|", "full"),
        ("|noinit|somethingnew|?", "refused"),
    ],
    ids=["gone", "a name wanted", "invited only", "renamed", "too many", "cut off", "unknown"],
)
def test_a_refusal_says_why(line, state):
    reader = RoomReader()

    reader.feed([line])

    assert (reader.state, reader.lines, reader.is_complete) == (state, [], True)


def test_a_room_that_is_renamed_while_it_is_watched_is_hidden():
    reader = reader_of("|noinit|rename|battle-gen9ou-9-5qdkn9be0sgpy3bdlpw|A vs. B")

    assert reader.state == "hidden"


@pytest.mark.parametrize(
    ("line", "state"),
    [
        ("|win|A", "ended"),
        ("|tie", "ended"),
        ("|tier|[Gen 9] OU", "running"),
        ("|tie|", "running"),
        ("|c|☆A||win|A", "running"),
        ("win|A", "running"),
        ("|expire|", "expired"),
        ("|deinit", "hidden"),
        ("|deinit|", "hidden"),
        ("|deinitialise|", "running"),
    ],
)
def test_a_line_ends_a_battle_or_not(line, state):
    assert reader_of(line).state == state


def test_a_room_that_expires_stays_expired():
    assert reader_of("|expire|", "|deinit").state == "expired"


def test_joining_a_room_again_begins_its_log_again():
    reader = reader_of("|rated|", "|turn|1", "|win|A", "|raw|A's rating: 1 &rarr;", "|l|☆A")

    reader.feed([*INIT, "|rated|", "|turn|1"])

    assert reader.lines == ["|j|☆A", "|rated|", "|turn|1"]
    assert (reader.state, reader.is_complete) == ("running", False)


def test_what_comes_before_a_room_is_joined_is_nobodys_log():
    reader = RoomReader()

    reader.feed(["|turn|1", "|win|A", "|expire|", "|deinit", ""])

    assert (reader.state, reader.lines) == ("waiting", [])


def test_what_is_not_of_the_battle_is_not_logged():
    reader = reader_of("|title|A", "|popup|no", "|queryresponse|rooms|{}", "|turn|1")

    assert reader.lines == ["|j|☆A", "|turn|1"]


def test_a_line_of_an_unknown_type_is_logged():
    assert reader_of("|-newthing|p1a: X").lines[-1] == "|-newthing|p1a: X"


# --- Rubbish --------------------------------------------------------------------------------------

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
pieces = st.sampled_from(
    [
        *("\n", "|", ">", ">battle-gen9ou-9\n", "|init|battle\n", "|noinit|", "|deinit", "|win|A"),
        *("|tie", "|expire|", "|rated|", "|raw|A's rating: ", "|formats|", ",LL|", ",1|A|"),
        *("|queryresponse|", "roomlist|", '{"rooms":{"battle-gen9ou-1":', "{}}}", "null", "[["),
    ]
)
rubbish = st.lists(pieces | text, max_size=20).map("".join)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | text,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["rooms", "battle-gen9ou-1", "minElo", "p1", "battleCount"]) | text,
            inner,
            max_size=3,
        )
    ),
    max_leaves=8,
)


@settings(deadline=None)
@given(st.lists(rubbish, max_size=5))
@example(["|noinit|"])
def test_any_frames_can_be_followed(frames):
    reader = follow(*frames)

    assert reader.is_complete in (True, False)
    assert all("\n" not in line for line in reader.lines)


@settings(deadline=None)
@given(rubbish)
@example("|formats|,LL|,1|S/V Singles|[Gen 9] OU,e||,2|Past|☆,e|[Gen 1] OU,e")
def test_any_line_is_something_or_nothing(line):
    assert parse_query(line) is None or "|queryresponse|" in line
    assert all(format.isalnum() for format in parse_formats(line) or [])


@settings(deadline=None)
@given(values)
@example({"rooms": {"battle-gen9ou-1": {}, "battle-gen9ou-2-abcpw": {}, "lobby": {}}})
def test_any_value_is_a_list_of_public_battles_or_bad(value):
    assert (parse_battle_count(value) or 0) >= 0
    try:
        found = parse_room_list(value)
    except BadReplyError:
        return

    assert len(found.rooms) <= found.shown
    assert all(is_battle_id(room.id) for room in found.rooms)


def test_a_log_that_was_followed_is_that_of_a_later_join():
    live, later = RoomReader(), RoomReader()
    for frame in (">r\n|init|battle\n|j|A\n|turn|1\n", ">r\n|move|x", ">r", ">r\n|win|A"):
        live.feed(split_frame(frame)[1])
    later.feed(split_frame(">r\n|init|battle\n|j|A\n|turn|1\n|move|x\n|win|A\n")[1])
    assert live.lines == later.lines


def test_a_battle_that_is_hidden_after_its_end_is_hidden():
    reader = RoomReader()

    reader.feed(["|init|battle", "|rated|", "|win|A"])
    reader.feed(["|deinit"])

    assert reader.state == "hidden"


def test_a_battle_whose_room_expires_after_its_end_has_ended():
    reader = RoomReader()

    reader.feed(["|init|battle", "|rated|", "|win|A"])
    reader.feed(["|expire|"])
    reader.feed(["|deinit"])

    assert reader.state == "ended"


@pytest.mark.parametrize("kind", ["noinit|nonexistent", "formats"])
def test_a_line_of_bars_costs_no_more_than_some_copies_of_it(kind):
    line = f"|{kind}|" + "|" * 2_000_000
    tracemalloc.start()
    try:
        RoomReader().feed([line])
        parse_formats(line)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert peak < 6_000_000


# --- Notices --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("|popup|You are locked.||Appeal  later.", "You are locked. Appeal later."),
        ("|popup||modal|PS is under heavy load", "PS is under heavy load"),
        ('|popup||html|<a href="x">You</a> are <b>banned</b> &lt;1 day', "You are banned <1 day"),
        ("|popup||modal||html|<p>No</p>", "No"),
        ("|bigerror|It crashed.", "It crashed."),
        ("|popup|", ""),
        ("|popup|" + "<" * 100_000, "<" * 100_000),
        ("|raw|<b>popup</b>", None),
        ("popup", None),
        ("", None),
    ],
    ids=[
        "text",
        "modal",
        "html",
        "both",
        "an error",
        "empty",
        "brackets",
        "raw",
        "word",
        "nothing",
    ],
)
def test_what_the_server_says_to_us_alone_is_read_without_markup(line, text):
    assert parse_notice(line) == text


def test_a_list_may_hold_names_and_rows_without_end():
    rows = {f"battle-gen9ou-{n}": {"p1": "a" * 10_000, "p2": "B"} for n in range(5000)}

    rooms = parse_room_list({"rooms": rows})

    assert len(rooms.rooms) == 1000
    assert rooms.is_full
    assert rooms.rooms[0].players == ("a" * 30, "b")
