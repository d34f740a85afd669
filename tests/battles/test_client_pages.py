"""What a page of the web client hears and asks; the page is a stand-in that answers at once."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable

import pytest
from scrapy import Request

from battles.client_pages import ListPage, PageError, RoomPage, SilentPageError
from battles.dialogue import Manners
from battles.listing import Plan, Question, read_look
from extensions.throttle import HeldError

SITE = "wss://server/showdown/websocket"
NOTICE = '|raw|<strong class="message-throttle-notice">Your message was not sent.</strong>'
FORMATS = "|formats|,1|S/V Singles|[Gen 9] OU,e|[Gen 1] OU,e"
LOG = "|player|p1|A|1|\n|turn|1"


class Events:
    """Something that tells its listeners what happens."""

    def __init__(self) -> None:
        self._listeners: dict[str, list[Callable]] = {}

    def on(self, event: str, listener: Callable) -> None:
        self._listeners.setdefault(event, []).append(listener)

    def emit(self, event: str, value: object = None) -> None:
        for listener in self._listeners.get(event, []):
            listener(value)


class Page(Events):
    """A page whose controls ask a list of battles, by id, with each battle's lowest rating."""

    def __init__(self, battles: dict[str, int | None] | None = None) -> None:
        super().__init__()
        self.battles = battles or {}
        self.asked: list[str] = []
        self.socket = Events()
        self.is_gone = False
        self.elo = self.format = self.prefix = ""
        self.answers = lambda: True
        """Whether the server answers what the page asks."""

    def is_closed(self) -> bool:
        return self.is_gone

    def hear(self, frame: str | bytes) -> None:
        self.socket.emit("framereceived", frame)

    def ask(self, question: str | None = None) -> None:
        question = question or f"{self.format},{self.elo},{self.prefix}"
        self.asked.append(question)
        self.socket.emit("framesent", f"|/cmd roomlist {question}")
        if not self.answers():
            return
        rooms = {
            f"battle-{id}": {"p1": "A", "p2": "B", "minElo": elo}
            for id, elo in self.battles.items()
            if id.startswith(self.format) and (elo or 0) >= int(self.elo or 0)
        }
        self.hear(f"|queryresponse|roomlist|{json.dumps({'rooms': rooms})}")

    async def eval_on_selector_all(self, _selector: str, _script: str) -> list[str]:
        return ["none", "1100", "1300", "1500"]

    async def select_option(self, selector: str, value: str) -> None:
        assert selector == "select[name=elofilter]"
        self.elo = value.replace("none", "")
        self.ask()

    async def click(self, selector: str) -> None:
        if selector != "button.formatselect":
            self.format = selector.split("'")[1]
            self.ask()

    async def fill(self, selector: str, text: str) -> None:
        assert selector == "input[name=prefixsearch]"
        self.prefix = text

    async def press(self, selector: str, key: str) -> None:
        assert (selector, key) == ("input[name=prefixsearch]", "Enter")
        self.ask()


def opened(view: ListPage | RoomPage, page: Page | None = None) -> Page:
    """A page that a view listens to, with an open websocket."""
    page = page or Page()
    asyncio.run(view.attach(page, Request("http://client/")))
    page.emit("websocket", page.socket)
    return page


def list_page(page: Page, **manners: float) -> ListPage:
    view = ListPage(Manners(**{"patience": 0.0, **manners}))
    opened(view, page)
    page.hear(FORMATS)
    page.ask()
    return view


def look(view: ListPage, *, formats: str = "", min_elo: str = "", began: float = 1e12, **plan):
    """Look once; what began in the future may take its time."""
    request = Request(
        f"{SITE}?list&formats={formats}&min_elo={min_elo}", meta={"plan": Plan(**plan).write()}
    )
    return read_look(asyncio.run(view.look(request, began)))


def room_page(**manners: float) -> RoomPage:
    return RoomPage(Request(f"{SITE}?room=battle-gen9ou-1"), Manners(**manners))


def wait(view: RoomPage, seconds: float = 0.0) -> None:
    asyncio.run(view.wait(lambda: view.has_answer, seconds))


# --- The list -------------------------------------------------------------------------------------


def test_the_first_look_takes_what_the_page_asked_of_itself():
    page = Page({"gen9ou-1": 1200, "gen1ou-2": None})

    seen = look(list_page(page))

    assert sorted(seen.rooms) == ["gen1ou-2", "gen9ou-1"]
    assert page.asked == [",,"]


def test_the_next_look_asks_anew():
    page = Page({"gen9ou-1": 1200})
    view = list_page(page)
    look(view)
    page.battles = {"gen9ou-2": 1200}

    assert [*look(view).rooms] == ["gen9ou-2"]
    assert page.asked == [",,", ",,"]
    assert view.looks == 2


def test_what_the_page_asked_between_two_looks_is_no_answer_to_either():
    page = Page({"gen9ou-1": 1200})
    view = list_page(page)
    look(view)
    page.ask()
    page.battles = {"gen9ou-2": 1200}

    assert [*look(view).rooms] == ["gen9ou-2"]


def test_only_the_controls_are_used_whose_choice_is_another():
    page = Page({"gen9ou-1": 1200, "gen1ou-2": None})
    view = list_page(page)

    seen = look(view, formats="gen9ou,gen1ou", checks=["gen1ou,,ab"])

    assert page.asked == [",,", "gen9ou,,", "gen1ou,,"]
    assert seen.asked == ["gen9ou,,", "gen1ou,,"]


def test_the_prefix_travels_with_another_choice():
    page = Page()
    view = list_page(page)
    asyncio.run(view._ask(Question("gen9ou", None, "ab")))
    asyncio.run(view._ask(Question("gen9ou", None, "c")))

    assert page.asked == [",,", "gen9ou,,ab", "gen9ou,,c"]


def test_of_a_wider_choice_of_ratings_only_what_was_asked_for_is_taken():
    page = Page({"gen9ou-1": 1450, "gen9ou-2": 1399, "gen9ou-3": None})

    seen = look(list_page(page), min_elo="1400")

    assert page.asked[-1] == ",1300,"
    assert [*seen.rooms] == ["gen9ou-1"]
    assert seen.asked == [",1400,"]


def test_a_rating_below_the_choice_on_offer_asks_for_all():
    page = Page({"gen9ou-1": 1020})

    assert [*look(list_page(page), min_elo="1010").rooms] == ["gen9ou-1"]


def test_a_format_that_the_server_lacks_is_not_chosen_and_said():
    page = Page({"gen9ou-1": 1200})

    seen = look(list_page(page), formats="gen9uo,gen1ou")

    assert seen.unknown == {"gen9uo": "gen9ou"}
    assert seen.asked == ["gen1ou,,"]
    assert page.asked == [",,", "gen1ou,,"]


@pytest.mark.parametrize(("began", "asked"), [(-1e12, [",,"]), (1e12, [",,", "gen9ou,,"])])
def test_a_look_whose_time_is_over_asks_one_question_and_leaves_the_others(began, asked):
    page = Page({f"gen9ou-{number}": 1200 for number in range(100)})

    seen = look(list_page(page), began=began)

    assert page.asked[:2] == asked
    assert seen.asked[:2] == asked
    assert ("gen9ou,," in seen.left) == (asked == [",,"])


def test_a_page_that_asks_something_else_is_not_believed():
    page = Page()
    view = list_page(page)
    page.ask = lambda: Page.ask(page, "gen1ou,,")

    with pytest.raises(PageError, match="it does not ask for 'gen9ou,,'"):
        look(view, formats="gen9ou")


def test_a_list_that_is_none_is_no_answer():
    page = Page()
    view = list_page(page)
    look(view)

    def misunderstand() -> bool:
        page.hear('|queryresponse|roomlist|"no"')
        return False

    page.answers = misunderstand
    with pytest.raises(PageError, match="it does not ask for ',,'"):
        look(view)


def test_a_question_that_the_server_threw_away_is_not_waited_for():
    page = Page()
    view = list_page(page, patience=60.0)
    page.answers = lambda: page.hear(NOTICE)

    with pytest.raises(PageError, match="threw its question away"):
        look(view, formats="gen9ou")


def test_an_answer_that_does_not_come_is_missed():
    page = Page()
    view = list_page(page)
    page.answers = lambda: False

    with pytest.raises(SilentPageError, match="nothing of what was asked in 0 s"):
        look(view, formats="gen9ou")


def test_what_is_said_in_a_room_is_nothing_about_the_list():
    page = Page()
    view = list_page(page)
    page.hear(">lobby\n|formats|,1|S|[Gen 9] UU,e\n" + NOTICE)

    assert look(view, formats="gen9uu").unknown == {"gen9uu": "gen9ou"}


# --- A room ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "status"),
    [
        (f"|init|battle\n{LOG}\n|win|A", 200),
        (f"|init|battle\n{LOG}", 200),
        ("|noinit|nonexistent|gone", 404),
        ("|noinit|namerequired|log in", 403),
        ("|noinit|joinfailed|no", 423),
        ("|noinit|surprise|no", 423),
    ],
)
def test_a_room_answers_with_its_log_or_says_why_not(said, status):
    view = room_page(patience=0.0)
    page = opened(view)
    page.hear(f">battle-gen9ou-1\n{said}")

    asyncio.run(view.watch())

    assert view.answer()[0] == status
    assert view.answer()[1].decode() in said


def test_a_room_for_which_there_is_no_place_is_put_off():
    view = room_page()
    opened(view).hear(">battle-gen9ou-1\n|noinit||You can only join 50 rooms at a time.")

    with pytest.raises(HeldError, match="the server lets nobody into more rooms"):
        view.answer()


def test_another_room_and_bytes_are_no_answer():
    view = room_page()
    page = opened(view)
    page.hear(f">battle-gen9ou-2\n|init|battle\n{LOG}")
    page.hear(b">battle-gen9ou-1\n|init|battle")

    with pytest.raises(SilentPageError, match="nothing of what was asked in 0 s"):
        wait(view)


def test_the_first_answer_is_told_to_who_waits_for_a_sign_of_life():
    view, signs = room_page(patience=0.0), []
    view._request.meta["alive"] = lambda: signs.append(1)
    opened(view).hear(">battle-gen9ou-1\n|init|battle")

    asyncio.run(view.watch())

    assert signs == [1]


def test_where_rooms_are_stayed_in_the_end_is_waited_for():
    view = room_page(patience=0.0, stay=60.0, settle=0.0)
    page = opened(view)
    page.hear(f">battle-gen9ou-1\n|init|battle\n{LOG}")

    async def scene() -> None:
        watching = asyncio.create_task(view.watch())
        await asyncio.sleep(0)
        page.hear(">battle-gen9ou-1\n|win|A")
        await watching

    asyncio.run(scene())

    assert view.answer()[1].endswith(b"|win|A")


# --- Any page -------------------------------------------------------------------------------------


def close(page: Page) -> None:
    page.is_gone = True
    page.emit("close")


@pytest.mark.parametrize(
    ("happens", "cause"),
    [
        (lambda page: page.emit("crash"), "it crashed"),
        (close, "it is closed"),
        (lambda page: page.socket.emit("close"), "its websocket was closed"),
        (lambda page: page.socket.emit("socketerror", "403"), "its websocket failed: 403"),
    ],
)
def test_of_a_page_that_is_lost_nothing_more_is_waited_for(happens, cause):
    view = room_page()
    page = opened(view)

    async def scene() -> None:
        waiting = asyncio.create_task(view.wait(lambda: False, 60.0))
        await asyncio.sleep(0)
        happens(page)
        await waiting

    with pytest.raises(PageError, match=cause):
        asyncio.run(scene())


def test_how_a_websocket_failed_says_more_than_that_it_closed():
    view = room_page()
    page = opened(view)
    page.socket.emit("socketerror", "403")
    page.socket.emit("close")

    assert view.fault == "its websocket failed: 403"


def test_a_page_may_lose_one_websocket_of_two():
    view = room_page()
    page = opened(view)
    page.emit("websocket", Events())
    page.socket.emit("close")

    assert view.fault == ""


def test_a_page_without_a_websocket_is_another_page():
    view = room_page()
    asyncio.run(view.attach(Page(), Request("http://client/")))

    with pytest.raises(SilentPageError, match="no websocket in 0 s"):
        wait(view)


def test_a_page_that_is_loaded_again_is_listened_to_anew():
    view = room_page()
    opened(view).emit("crash")
    opened(view)

    assert view.fault == ""


def test_how_long_the_server_took_is_counted_from_what_was_asked(monkeypatch):
    now = [100.0]
    monkeypatch.setattr("battles.client_pages.time.monotonic", lambda: now[0])
    view = room_page()
    page = opened(view)
    now[0] += 30.0
    page.socket.emit("framesent", "|/join battle-gen9ou-1")
    now[0] += 0.25
    page.hear(">battle-gen9ou-1\n|init|battle")

    assert view.latency == 0.25
