from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from battles.listing import Listing, Question
from battles.parsers.frames import SHOWN, Room, RoomList
from tests.conftest import examples

FORMATS = ["gen9ou", "gen9uu", "gen1ou", "gen9randombattle"]
LETTERS = 36


@dataclass(frozen=True)
class Live:
    """A battle of the model server."""

    format: str
    players: tuple[str, str]
    elo: int | None = None


@dataclass
class Server:
    """Answers as the real one does: at most a hundred, the newest first."""

    battles: list[Live]
    asked: list[Question] = field(default_factory=list)

    def answer(self, question: Question) -> RoomList:
        self.asked.append(question)
        fitting = [
            Room(f"{battle.format}-{number}", battle.elo)
            for number, battle in enumerate(self.battles, start=1)
            if self._fits(battle, question)
        ]
        rooms = tuple(reversed(fitting))[:SHOWN]
        return RoomList(rooms, len(rooms))

    @staticmethod
    def _fits(battle: Live, question: Question) -> bool:
        return (
            question.format in ("", battle.format)
            and (question.min_elo is None or (battle.elo or 0) >= question.min_elo)
            and any(player.startswith(question.prefix) for player in battle.players)
        )

    def ids(self, formats: tuple[str, ...] = (), min_elo: int = 0) -> set[str]:
        return {
            f"{battle.format}-{number}"
            for number, battle in enumerate(self.battles, start=1)
            if (not formats or battle.format in formats) and (battle.elo or 0) >= min_elo
        }


def ask_all(listing: Listing, server: Server) -> None:
    while question := listing.next():
        listing.take(question, server.answer(question))


def look(listing: Listing, server: Server, formats: list[str] = FORMATS) -> Listing:
    """Ask everything that is to be asked, as the dialogue does."""
    ask_all(listing, server)
    listing.look_further(len(server.battles), formats)
    ask_all(listing, server)
    return listing


def crowd(count: int, format: str = "gen9ou", name: str = "ash") -> list[Live]:
    """Make battles between players whose names begin alike."""
    return [Live(format, (f"{name}{n}a", f"{name}{n}b")) for n in range(count)]


def spread(count: int, format: str = "gen9ou") -> list[Live]:
    """Make battles between players whose names begin with every letter."""
    letters = "abcdefghijklmnopqrstuvwxyz0123456789"
    return [
        Live(format, (f"{letters[n % LETTERS]}x{n}", f"{letters[(n + 7) % LETTERS]}y{n}"))
        for n in range(count)
    ]


# --- Questions ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("question", "command"),
    [
        (Question(), "/cmd roomlist ,,"),
        (Question("gen9ou"), "/cmd roomlist gen9ou,,"),
        (Question("gen9ou", 1500, "as"), "/cmd roomlist gen9ou,1500,as"),
        (Question(min_elo=0), "/cmd roomlist ,0,"),
    ],
    ids=["all", "a format", "everything", "any rated"],
)
def test_a_question_is_put_as_the_server_reads_it(question, command):
    assert question.command == command


def test_up_to_ninety_nine_battles_take_one_question():
    listing = look(Listing(), server := Server(spread(99)))

    assert set(listing.found) == server.ids()
    assert (listing.asked, listing.is_cut, listing.is_of_everything) == (1, False, True)


def test_a_full_answer_is_split_by_the_formats_it_shows():
    server = Server([*spread(60, "gen9ou"), *spread(60, "gen1ou")])

    listing = look(Listing(), server)

    assert set(listing.found) == server.ids()
    assert server.asked == [Question(), Question("gen1ou"), Question("gen9ou")]


def test_a_format_that_is_full_is_split_by_the_first_letters():
    listing = look(Listing(["gen9ou"]), server := Server(spread(500)))

    assert set(listing.found) == server.ids()
    assert listing.asked == 1 + LETTERS


def test_names_that_begin_alike_are_told_apart_by_three_letters():
    battles = [*crowd(100, name="asha"), *crowd(100, name="ashb"), *crowd(50, name="bob")]

    listing = look(Listing(["gen9ou"]), Server(battles))

    assert listing.is_cut
    assert listing.asked == 1 + 3 * LETTERS


def test_what_is_shown_and_not_usable_makes_an_answer_full():
    listing = Listing(["gen9ou"])

    listing.take(listing.next(), RoomList((Room("gen9ou-1", None),), SHOWN))

    assert listing.next().prefix == "a"


def test_only_the_formats_asked_for_are_asked_for():
    server = Server([*spread(150, "gen9ou"), *spread(150, "gen1ou"), *spread(9, "gen9uu")])

    listing = look(Listing(["gen9uu", "gen9ou"]), server)

    assert set(listing.found) == server.ids(("gen9ou", "gen9uu"))
    assert {question.format for question in server.asked} == {"gen9ou", "gen9uu"}
    assert not listing.is_of_everything


def test_every_question_has_the_lowest_rating():
    battles = [Live(one.format, one.players, 1000 + n) for n, one in enumerate(spread(300))]

    listing = look(Listing(min_elo=1150), server := Server(battles))

    assert set(listing.found) == server.ids(min_elo=1150)
    assert {question.min_elo for question in server.asked} == {1150}
    assert not listing.is_of_everything


def test_a_battle_has_the_rating_that_the_list_shows():
    listing = look(
        Listing(), Server([Live("gen9ou", ("a", "b"), 1200), Live("gen9ou", ("c", "d"))])
    )

    assert listing.found == {"gen9ou-1": 1200, "gen9ou-2": None}


# --- Looking further ------------------------------------------------------------------------------


def hidden_behind(count: int) -> Server:
    """Make a server whose newest hundred show one format only."""
    return Server([*spread(count, "gen1ou"), *spread(100, "gen9ou")])


def test_a_format_that_no_answer_shows_is_looked_for():
    listing = look(Listing(), server := hidden_behind(5))

    assert set(listing.found) == server.ids()


def test_nothing_more_is_asked_when_the_total_is_met():
    listing = Listing()
    ask_all(listing, server := Server(spread(120)))

    listing.look_further(len(listing.found), FORMATS)

    assert listing.next() is None
    assert len(listing.found) == len(server.battles)


@pytest.mark.parametrize(("missing", "is_met"), [(0, True), (3, True), (4, False)])
def test_the_few_that_began_or_ended_meanwhile_are_not_looked_for(missing, is_met):
    listing = Listing()
    ask_all(listing, Server(spread(120)))

    listing.look_further(120 + missing, FORMATS)

    assert (listing.next() is None) is is_met


def test_without_a_total_all_formats_are_asked_for():
    listing = Listing()
    ask_all(listing, server := hidden_behind(1))

    listing.look_further(None, FORMATS)
    ask_all(listing, server)

    assert set(listing.found) == server.ids()


def test_a_list_that_was_never_full_is_complete_whatever_the_total_says():
    listing = Listing()
    ask_all(listing, Server(spread(9)))

    listing.look_further(500, FORMATS)

    assert listing.next() is None


def test_a_format_is_asked_for_once():
    listing = look(Listing(), server := hidden_behind(60), [*FORMATS, *FORMATS])
    listing.look_further(None, FORMATS)

    assert listing.next() is None
    assert len(server.asked) == len(set(server.asked))


# --- Any server -----------------------------------------------------------------------------------

names = st.text("ab1", min_size=3, max_size=4)
live = st.builds(
    Live, st.sampled_from(FORMATS), st.tuples(names, names), st.none() | st.integers(1000, 1005)
)


@st.composite
def servers(draw: st.DrawFn) -> Server:
    """Make servers with a few battles, or with many that look much the same."""
    kinds = draw(st.lists(st.tuples(live, st.sampled_from([1, 40, 120])), max_size=5))
    return Server([battle for battle, count in kinds for _ in range(count)])


def alike(server: Server, formats: list[str], min_elo: int | None) -> int:
    """Return how many battles of one format share the first three letters of a name, at most."""
    shared = Counter(
        (battle.format, prefix)
        for battle in server.battles
        if battle.format in (formats or FORMATS) and (battle.elo or 0) >= (min_elo or 0)
        for prefix in {player[:3] for player in battle.players if len(player) > 2}
    )
    return max(shared.values(), default=0)


@settings(deadline=None, max_examples=examples(30))
@given(servers(), st.lists(st.sampled_from(FORMATS), unique=True), st.none() | st.integers(1, 1006))
@example(Server(crowd(200)), [], None)
def test_every_battle_that_can_be_told_apart_is_found(server, formats, min_elo):
    listing = Listing(formats, min_elo=min_elo)
    ask_all(listing, server)
    listing.look_further(None, FORMATS)
    ask_all(listing, server)

    expected = server.ids(tuple(formats), min_elo or 0)
    assert set(listing.found) <= expected
    assert listing.is_cut or set(listing.found) == expected
    assert not listing.is_cut or alike(server, formats, min_elo) >= SHOWN


@settings(deadline=None, max_examples=examples(30))
@given(servers())
def test_the_number_of_questions_is_bounded(server):
    listing = look(Listing(), server)

    full = sum(server.answer(question).is_full for question in list(server.asked))
    assert listing.asked <= 1 + len(FORMATS) + LETTERS * full
