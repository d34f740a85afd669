"""Check every stored battle."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from scrapy.exceptions import UsageError
from tqdm import tqdm

from battles.console import ArchiveCommand, archive_of, fail, print_json
from battles.verify import Verification, discard_copies, refetch, verify
from extensions.scheduler import queue_from_settings

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from battles.corpus import Corpus

_SHOWN = 10
"""Battles and segments that are named one by one; `--json` names all."""


class Command(ArchiveCommand):
    """`scrapy verify`."""

    def syntax(self) -> str:
        return "[options]"

    def short_desc(self) -> str:
        return "Check the checksums of every segment, and that every battle can be read"

    def long_desc(self) -> str:
        return (
            "Read every segment and compare it with the index. Battles that the index names and "
            "that cannot be read are listed, and end it with status 1; --refetch puts them back "
            "into the queue. Crawls may go on meanwhile."
        )

    def add_options(self, parser: ArgumentParser) -> None:
        super().add_options(parser)
        words = "have what cannot be read fetched again by the next `scrapy crawl replays`"
        parser.add_argument("--refetch", action="store_true", help=words)
        words = "take battles for lost also when the store is empty"
        parser.add_argument("--yes", action="store_true", help=words)
        parser.add_argument("--json", action="store_true", help="print the outcome as JSON")

    def run(self, args: list[str], opts: Namespace) -> None:
        if args:
            raise UsageError("`scrapy verify` takes no arguments")
        with archive_of(self) as corpus:
            found = _watch(corpus, may_be_empty=opts.yes)
            queued = self._refetch(corpus, found) if opts.refetch else 0
            is_settled = queued == len(found.missing)
            discarded = discard_copies(corpus) if is_settled else []
            if opts.json:
                print_json(
                    {
                        "segments": found.segments,
                        "battles": found.battles,
                        "damaged": found.damaged,
                        "missing": found.missing,
                        "refetched": queued,
                        "discarded": [str(path) for path in discarded],
                    }
                )
            else:
                lines = [_shown("segments are damaged", found.damaged)] if found.damaged else []
                lines += [_shown("battles cannot be read", found.missing)] if found.missing else []
                lines += [f"{path}: all of it is accounted for; removed" for path in discarded]
                lines += [f"{found.battles} battles in {found.segments} segments can be read"]
                lines += [_queued(queued)] if queued else []
                sys.stdout.write("\n".join(lines) + "\n")
            if not is_settled:
                fail(
                    self,
                    f"{len(found.missing)} battles cannot be read: `scrapy verify --refetch` has "
                    "them fetched again",
                )

    def _refetch(self, corpus: Corpus, found: Verification) -> int:
        settings = self.settings
        assert settings is not None  # noqa: S101 -- Scrapy has set it by now
        # Only here: Scrapy imports every command to learn its name.
        from scrapy.crawler import Crawler  # noqa: PLC0415

        from battles.spiders.replays import ReplaysSpider  # noqa: PLC0415

        spider = ReplaysSpider.from_crawler(Crawler(ReplaysSpider, settings))
        queue = queue_from_settings(settings, spider.name)
        queue.open()
        return refetch(corpus, found.rows, queue, spider)


def _watch(corpus: Corpus, *, may_be_empty: bool) -> Verification:
    """Verify the archive, and show how far it is."""
    checking = verify(corpus, may_be_empty=may_be_empty)
    with tqdm(unit=" segments", disable=None) as bar:
        while True:
            try:
                next(checking)
            except StopIteration as stop:
                found: Verification = stop.value
                return found
            bar.update()


def _shown(what: str, reasons: dict[str, str]) -> str:
    lines = [f"{len(reasons)} {what}:"]
    lines += [f"  {name}: {why}" for name, why in list(reasons.items())[:_SHOWN]]
    if len(reasons) > _SHOWN:
        lines.append(f"  … and {len(reasons) - _SHOWN} more; --json names all")
    return "\n".join(lines)


def _queued(count: int) -> str:
    return f"{count} are back in the queue: `scrapy crawl replays` fetches them"
