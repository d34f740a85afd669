"""What the commands share: opening archive and queue, and saying in one line what is wrong."""

from __future__ import annotations

import json
import os
import sys
from contextlib import contextmanager
from io import TextIOWrapper
from itertools import islice
from typing import TYPE_CHECKING, Any

from redis.exceptions import RedisError
from scrapy.commands import ScrapyCommand
from scrapy.exceptions import UsageError
from scrapy.spiderloader import get_spider_loader

from battles.arguments import nearest
from battles.corpus import Corpus, CorpusError
from battles.export import ExportError
from battles.leftovers import LeftoverError
from battles.validation import ROWS
from extensions.connection import EvictionError, UnreachableError
from extensions.redis_errors import trouble_of
from extensions.scheduler import queue_from_settings
from extensions.server_program import EmbeddedRedisError
from extensions.storage import StorageError
from extensions.validation import prepare
from extensions.versions import NewerVersionError

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Iterator

    from scrapy.settings import BaseSettings

    from extensions.queue import RequestQueue

_ENVIRONMENT = (
    CorpusError,
    EmbeddedRedisError,
    EvictionError,
    ExportError,
    LeftoverError,
    NewerVersionError,
    OSError,
    StorageError,
    UnreachableError,
)
"""What can go wrong however well the command is called."""
INTERRUPTED = 130
"""What a shell expects of a program that Ctrl-C ended."""


_DEFAULT_SPIDER = "replays"
_NAMED = 10
"""Battles that one line names."""


class QuietCommand(ScrapyCommand):
    """A command that wants a project, starts no crawl, and logs nothing."""

    requires_project = True
    requires_crawler_process = False
    default_settings = {"LOG_ENABLED": False}

    def add_options(self, parser: ArgumentParser) -> None:
        super().add_options(parser)
        complain_briefly(parser)

    def process_options(self, args: list[str], opts: Namespace) -> None:
        super().process_options(args, opts)
        begin(self)


class ArchiveCommand(QuietCommand):
    """A command over the archive."""


class QueueCommand(QuietCommand):
    """A command over a spider's queue; what is wrong with the archive does not concern it."""

    def add_options(self, parser: ArgumentParser) -> None:
        super().add_options(parser)
        words = f"whose queue; default {_DEFAULT_SPIDER}"
        parser.add_argument("--spider", default=_DEFAULT_SPIDER, metavar="NAME", help=words)

    @contextmanager
    def queue_of(self, spider: str) -> Iterator[RequestQueue]:
        """Open the queue of a spider; what goes wrong ends the command as in `complaints`."""
        assert self.settings is not None  # noqa: S101 -- Scrapy has set it by now
        if spider != _DEFAULT_SPIDER:
            check_spider(self.settings, spider)
        with complaints(self):
            queue = queue_from_settings(self.settings, spider)
            queue.open()
            yield queue


@contextmanager
def archive_of(command: ScrapyCommand) -> Iterator[Corpus]:
    """Open the archive for a command; what goes wrong ends it as in `complaints`."""
    assert command.settings is not None  # noqa: S101 -- Scrapy has set it by now
    with complaints(command):
        corpus = Corpus.from_settings(command.settings)
        corpus.index.check()
        yield corpus


@contextmanager
def complaints(command: ScrapyCommand) -> Iterator[None]:
    """End a command in which something goes wrong with one line, and status 1 or 2."""
    with usage_errors():
        try:
            yield
            sys.stdout.flush()
        except BrokenPipeError:
            # `head` has read enough. What is left in the buffer has nowhere to go.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise SystemExit(0) from None
        except KeyboardInterrupt:
            raise SystemExit(INTERRUPTED) from None
        except RedisError as error:
            fail(command, str(trouble_of(error)))
            raise SystemExit(command.exitcode) from None
        except _ENVIRONMENT as error:
            fail(command, str(error))
            raise SystemExit(command.exitcode) from None


@contextmanager
def usage_errors() -> Iterator[None]:
    """Have Scrapy say in one line which option or setting makes no sense, with status 2."""
    try:
        yield
    except ValueError as error:
        raise UsageError(str(error)) from None


def begin(command: ScrapyCommand) -> None:
    """Check all settings of a command, and have it print what its terminal can show.

    Raises:
        UsageError: a setting makes no sense.

    """
    assert command.settings is not None  # noqa: S101 -- Scrapy has set it by now
    print_what_can_be_shown()
    with usage_errors():
        prepare(command.settings, ROWS)


def print_what_can_be_shown() -> None:
    """Have letters that the terminal does not know printed as question marks."""
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")


def complain_briefly(parser: ArgumentParser) -> None:
    """Have a mistake answered by the line that names it, without the usage before it."""
    parser.print_usage = lambda file=None: None  # type: ignore[method-assign]  # noqa: ARG005 -- argparse's own


def check_spider(settings: BaseSettings, name: str) -> None:
    """Refuse a name that is no spider's.

    Raises:
        UsageError: it is none; the message names the nearest.

    """
    names = get_spider_loader(settings).list()
    if name not in names:
        raise UsageError(f"there is no spider {name!r}: {nearest(name, names)}")


def fail(command: ScrapyCommand, message: str) -> None:
    """Say what is wrong, and have the command end with status 1."""
    sys.stderr.write(f"{message}\n")
    command.exitcode = 1


def missing(corpus: Corpus) -> str:
    """Say in one line which battles were passed over because they cannot be read."""
    lost = corpus.unreadable
    named = ", ".join(islice(lost, _NAMED)) + (", …" if len(lost) > _NAMED else "")
    return (
        f"{len(lost)} battles cannot be read: {named} ({next(iter(lost.values()))}); "
        "`scrapy verify` lists them, and `scrapy verify --refetch` has them fetched again"
    )


def print_json(value: Any) -> None:  # noqa: ANN401 -- anything JSON holds
    """Print one JSON value as one line; where letters are few, it has escapes for the others."""
    is_utf8 = (sys.stdout.encoding or "utf-8").lower().replace("-", "") == "utf8"
    sys.stdout.write(json.dumps(value, ensure_ascii=not is_utf8) + "\n")
