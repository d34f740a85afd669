"""Write battles as Parquet or JSON Lines."""

from __future__ import annotations

import sys
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from battles.arguments import ArgumentError
from battles.console import ArchiveCommand, archive_of, fail, missing, print_json, usage_errors
from battles.export import check_name, check_target, export
from battles.filters import add_filters, read_filters
from battles.leftovers import Leftovers
from battles.pseudonyms import Pseudonyms

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Iterator

    from battles.items import Battle


def _without_names(
    battles: Iterator[Battle], pseudonyms: Pseudonyms, leftovers: Leftovers
) -> Iterator[Battle]:
    """Replace names, and see to it that none is left before anything takes its place.

    Raises:
        LeftoverError: one is.

    """
    for battle in battles:
        copy = pseudonyms.replace_in(battle)
        leftovers.check(battle, copy)
        yield copy


def _check_call(args: list[str], opts: Namespace) -> None:
    """Refuse words that say nothing to us, and targets that cannot be.

    Raises:
        ValueError: so it is.

    """
    if args and args[0].startswith("-"):
        raise ArgumentError(f"{args[0]!r} is no option: `scrapy export --help` lists them")
    if args:
        raise ArgumentError(f"{args[0]!r} is too much: --to takes one file or folder")
    if not opts.to:
        raise ArgumentError("say where to: `scrapy export --to battles.parquet`, or --to FOLDER")
    check_name(Path(opts.to), opts.form)


class Command(ArchiveCommand):
    """`scrapy export`.

    Settings:
        PSEUDONYM_KEY (unset): the secret that makes pseudonyms; keep it away from the data.
    """

    def syntax(self) -> str:
        return "[options] --to FILE|DIR"

    def short_desc(self) -> str:
        return "Write stored battles as Parquet or JSON Lines"

    def add_options(self, parser: ArgumentParser) -> None:
        super().add_options(parser)
        add = parser.add_argument
        add("--to", metavar="FILE|DIR", help="x.parquet, x.jsonl, x.jsonl.zst, or a new folder")
        add("--as", dest="form", choices=["parquet", "jsonl"], help="default: as the file's ending")
        add("--force", action="store_true", help="replace an earlier export, when this is whole")
        add("--pseudonyms", action="store_true", help="replace names; needs PSEUDONYM_KEY")
        add("--json", action="store_true", help="print the outcome as JSON")
        add_filters(parser)

    def run(self, args: list[str], opts: Namespace) -> None:
        with usage_errors():
            _check_call(args, opts)
            query = read_filters(opts)
            pseudonyms = self._pseudonyms() if opts.pseudonyms else None
        with archive_of(self) as corpus:
            check_target(Path(opts.to), opts.form, force=opts.force)
            leftovers = Leftovers()
            battles = corpus.everything(query)
            if pseudonyms is not None:
                battles = _without_names(battles, pseudonyms, leftovers)
            first = next(battles, None)
            if first is None:
                fail(self, missing(corpus) if corpus.unreadable else corpus.why_nothing(query))
                return
            count = export(chain([first], battles), Path(opts.to), opts.form, force=opts.force)
            if leftovers.alike():
                sys.stderr.write(f"{leftovers.alike()}\n")
            if opts.json:
                print_json({"battles": count, "to": opts.to})
            else:
                sys.stdout.write(f"{count} battles in {opts.to}\n")
            if corpus.unreadable:
                fail(self, missing(corpus))

    def _pseudonyms(self) -> Pseudonyms:
        key = self.settings["PSEUDONYM_KEY"] if self.settings else None
        if not key:
            raise ArgumentError(
                "--pseudonyms needs a secret in the environment: PSEUDONYM_KEY=… scrapy export …"
            )
        return Pseudonyms(key)
