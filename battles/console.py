"""What the commands share: opening the archive, and saying in one line what is wrong."""

from __future__ import annotations

import json
import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from redis.exceptions import RedisError
from scrapy.commands import ScrapyCommand
from scrapy.exceptions import UsageError

from battles.corpus import Corpus, CorpusError
from battles.export import ExportError
from extensions.connection import UnreachableError
from extensions.server_program import EmbeddedRedisError
from extensions.storage import StorageError

if TYPE_CHECKING:
    from collections.abc import Iterator

_ENVIRONMENT = (
    CorpusError,
    EmbeddedRedisError,
    ExportError,
    OSError,
    StorageError,
    UnreachableError,
)
"""What can go wrong however well the command is called."""
_INTERRUPTED = 130
"""What a shell expects of a program that Ctrl-C ended."""


class ArchiveCommand(ScrapyCommand):
    """A command over the archive: it wants a project, starts no crawl, and logs nothing."""

    requires_project = True
    requires_crawler_process = False
    default_settings = {"LOG_ENABLED": False}


@contextmanager
def archive_of(command: ScrapyCommand) -> Iterator[Corpus]:
    """Open the archive for a command; what goes wrong ends it with one line and status 1 or 2."""
    assert command.settings is not None  # noqa: S101 -- Scrapy has set it by now
    with usage_errors():
        try:
            corpus = Corpus.from_settings(command.settings)
            corpus.index.check()
            yield corpus
            sys.stdout.flush()
        except BrokenPipeError:
            # `head` has read enough. What is left in the buffer has nowhere to go.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise SystemExit(0) from None
        except KeyboardInterrupt:
            raise SystemExit(_INTERRUPTED) from None
        except RedisError as error:
            fail(command, f"Redis does not answer: {error}; check REDIS_URL")
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


def fail(command: ScrapyCommand, message: str) -> None:
    """Say what is wrong, and have the command end with status 1."""
    sys.stderr.write(f"{message}\n")
    command.exitcode = 1


def print_json(value: Any) -> None:  # noqa: ANN401 -- anything JSON holds
    """Print one JSON value as one line."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False) + "\n")
