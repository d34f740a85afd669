"""What the commands share: opening the archive, and saying in one line what is wrong."""

from __future__ import annotations

import json
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from redis.exceptions import RedisError
from scrapy.exceptions import UsageError

from battles.arguments import ArgumentError
from battles.corpus import Corpus, CorpusError
from battles.export import ExportError
from extensions.embedded import EmbeddedRedisError
from extensions.storage import StorageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scrapy.commands import ScrapyCommand


@contextmanager
def archive_of(command: ScrapyCommand) -> Iterator[Corpus]:
    """Open the archive for a command; what goes wrong ends it with one line and status 1 or 2."""
    assert command.settings is not None  # noqa: S101 -- Scrapy has set it by now
    try:
        yield Corpus.from_settings(command.settings)
    except ArgumentError as error:
        raise UsageError(str(error)) from None
    except RedisError as error:
        fail(command, f"Redis does not answer: {error}. Check REDIS_URL")
    except (CorpusError, EmbeddedRedisError, ExportError, OSError, StorageError) as error:
        fail(command, str(error))
    except ValueError as error:
        raise UsageError(str(error)) from None


def fail(command: ScrapyCommand, message: str) -> None:
    """End the command with status 1."""
    sys.stderr.write(f"{message}\n")
    command.exitcode = 1


def print_json(value: Any) -> None:  # noqa: ANN401 -- anything JSON holds
    """Print one JSON value as one line."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False) + "\n")
