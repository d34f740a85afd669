"""List, show, put back or drop requests that did not succeed."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

from scrapy.exceptions import UsageError

from battles.console import QueueCommand, fail, print_json
from extensions.addresses import without_credentials

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from extensions.queue import RequestQueue

_SETTLING = ("requeue", "drop")
_ACTIONS = ("list", "show", *_SETTLING)


class Command(QueueCommand):
    """`scrapy deadletters`."""

    def syntax(self) -> str:
        return "[options] [list | show ID | requeue ID…|--all | drop ID…|--all]"

    def short_desc(self) -> str:
        return "List, show, put back or drop requests that did not succeed"

    def add_options(self, parser: ArgumentParser) -> None:
        super().add_options(parser)
        add = parser.add_argument
        add("--all", action="store_true", help="requeue or drop every one")
        add("--json", action="store_true", help="print JSON")

    def run(self, args: list[str], opts: Namespace) -> None:
        action, *numbers = args or ["list"]
        _check(action, numbers, is_all=opts.all)
        with self.queue_of(opts.spider) as queue:
            letters = queue.dead_letters()
            if action == "list":
                _list(letters, as_json=opts.json)
            elif action == "show":
                self._show(letters, numbers)
            else:
                self._settle(queue, action, list(letters) if opts.all else numbers)

    def _show(self, letters: dict[str, Any], numbers: list[str]) -> None:
        for number in numbers:
            if number not in letters:
                fail(self, f"there is no letter {number}: `scrapy deadletters` lists them")
                continue
            text = json.dumps(readable(letters[number]), ensure_ascii=False, indent=2)
            sys.stdout.write(text + "\n")

    def _settle(self, queue: RequestQueue, action: str, numbers: list[str]) -> None:
        settled = queue.requeue(numbers) if action == "requeue" else queue.drop(numbers)
        done = "put back into the queue" if action == "requeue" else "dropped"
        sys.stdout.write(f"{len(settled)} {done}\n")
        if left := [number for number in numbers if number not in settled]:
            fail(self, f"not there, or too broken to put back: {', '.join(left[:20])}")


def _check(action: str, numbers: list[str], *, is_all: bool) -> None:
    """Refuse what makes no sense, before anything is changed."""
    if action not in _ACTIONS:
        raise UsageError(f"{action!r}: give one of {', '.join(_ACTIONS)}")
    is_settling = action in _SETTLING
    if is_all and (numbers or not is_settling):
        raise UsageError("--all goes with requeue or drop, and takes no letter's number")
    if action == "list" and numbers:
        raise UsageError("list takes no letter's number")
    if action != "list" and not numbers and not is_all:
        every = ", or --all for every letter" if is_settling else ""
        raise UsageError(f"{action} takes a letter's number{every}")


def _list(letters: dict[str, Any], *, as_json: bool) -> None:
    if not letters and not as_json:
        sys.stdout.write("no dead letters\n")
    for number, letter in letters.items():
        shown = readable(letter)
        if as_json:
            print_json({"id": number, **shown})
        else:
            status = shown["status"] or "-"
            line = f"{number:>6}  {status:>4}  {shown['url']}  {shown['reason']}"
            # A reason may quote a page, and an address come from anywhere.
            sys.stdout.write("".join(c if c.isprintable() else " " for c in line) + "\n")


def readable(letter: dict[str, Any]) -> dict[str, Any]:
    """Return a letter with its request's fields by name."""
    flat = letter["fields"]
    # Letters of earlier versions may hold passwords.
    parts = [without_credentials(part) for part in flat]
    request = dict(zip(parts[::2], parts[1::2], strict=True))
    rest = {name: value for name, value in letter.items() if name != "fields"}
    rest["reason"] = without_credentials(letter["reason"])
    return {"url": request.get("url", "?"), **rest, "request": request}
