"""Scrapy's own `shell`, which takes nothing from the queue that all workers share."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any

from scrapy.commands import shell
from scrapy.shell import Shell

from battles.console import INTERRUPTED
from battles.one_off import OneOffCommand

if TYPE_CHECKING:
    from argparse import Namespace


class _InterruptibleShell(Shell):
    """Scrapy's has Ctrl-C ignored, also while a site is slow."""

    def fetch(self, *args: Any, **options: Any) -> None:  # noqa: ANN401 -- Scrapy's own, handed on
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            super().fetch(*args, **options)
        finally:
            signal.signal(signal.SIGINT, before)


class Command(OneOffCommand, shell.Command):
    """`scrapy shell [URL|FILE]`: Ctrl-C ends it while it waits for a site."""

    def process_options(self, args: list[str], opts: Namespace) -> None:
        super().process_options(args, opts)
        assert self.settings is not None  # noqa: S101 -- Scrapy has set it by now
        # Whoever names a file here may read it; what comes from a queue may not.
        file = "scrapy.core.downloader.handlers.file.FileDownloadHandler"
        handlers = {**self.settings.getdict("DOWNLOAD_HANDLERS"), "file": file}
        self.settings.set("DOWNLOAD_HANDLERS", handlers, priority="cmdline")

    def run(self, args: list[str], opts: Namespace) -> None:
        shell.Shell = _InterruptibleShell  # type: ignore[attr-defined]  # Scrapy has no other hook
        try:
            super().run(args, opts)
        except KeyboardInterrupt:
            raise SystemExit(INTERRUPTED) from None
