"""Every component in running order, and what differs between machines."""

import os
from shutil import which
from urllib.request import getproxies


def _environment(name: str, default: str | None = None) -> str | None:
    """Read what a machine says; a file that Windows wrote leaves a CR at the end of each line."""
    value = os.environ.get(name, default)
    return None if value is None else value.strip()


BOT_NAME = "battles"
SPIDER_MODULES = ["battles.spiders"]
COMMANDS_MODULE = "battles.commands"

# --- Components, in running order -----------------------------------------------------------------

ADDONS = {
    "battles.validation.Validation": 50,  # refuses settings that make no sense
    "battles.identity.Identity": 100,  # makes the user agent of CONTACT
}
SCHEDULER = "extensions.scheduler.Scheduler"
REQUEST_FINGERPRINTER_CLASS = "battles.fingerprints.WalkFingerprinter"

DOWNLOAD_HANDLERS = {
    "http": "extensions.http_download.HttpDownloadHandler",
    "https": "extensions.http_download.HttpDownloadHandler",
    "ws": "extensions.websocket.WebSocketDownloadHandler",
    "wss": "extensions.websocket.WebSocketDownloadHandler",
    # Nothing that came out of the queue may read a file.
    **dict.fromkeys(("data", "file", "ftp", "s3")),
}

DOWNLOADER_MIDDLEWARES = {
    # Of no use to a site of JSON files on one host, and each costs CPU for each request.
    "scrapy.downloadermiddlewares.offsite.OffsiteMiddleware": None,
    "scrapy.downloadermiddlewares.httpauth.HttpAuthMiddleware": None,
    # The handler reads DOWNLOAD_TIMEOUT itself.
    "scrapy.downloadermiddlewares.downloadtimeout.DownloadTimeoutMiddleware": None,
    "scrapy.downloadermiddlewares.redirect.MetaRefreshMiddleware": None,
    # Scrapy's takes a robots.txt that cannot be had for one that allows everything.
    "scrapy.downloadermiddlewares.robotstxt.RobotsTxtMiddleware": None,
    "extensions.robots.RobotsTxtMiddleware": 100,
    # Ours waits in the queue between two tries; Scrapy's tries again at once.
    "scrapy.downloadermiddlewares.retry.RetryMiddleware": None,
    "extensions.retry.RetryMiddleware": 550,
    # Ours gives a reason for what it cannot unpack.
    "scrapy.downloadermiddlewares.httpcompression.HttpCompressionMiddleware": None,
    "extensions.compression.HttpCompressionMiddleware": 590,
    # Nearest to the download: what was archived meanwhile is not fetched.
    "battles.known.RedeliveredBattlesMiddleware": 900,
}

SPIDER_MIDDLEWARES = {
    # Nearest to the spider: what it drops, no other middleware has to look at.
    "battles.known.KnownBattlesMiddleware": 900,
    # Behind it: what it asks for, the archive holds.
    "battles.sweep.SweepMiddleware": 890,
    # Depth and referrer say nothing here, and would cost bytes in each entry of the queue.
    "scrapy.spidermiddlewares.urllength.UrlLengthMiddleware": None,
    "scrapy.spidermiddlewares.start.StartSpiderMiddleware": None,
    "scrapy.spidermiddlewares.depth.DepthMiddleware": None,
    "scrapy.spidermiddlewares.referer.RefererMiddleware": None,
    # It takes a request that is tried again for one whose meta was copied by mistake.
    "scrapy.spidermiddlewares.metacopy.MetaCopyDetectionMiddleware": None,
}

ITEM_PIPELINES = {
    "battles.pipelines.withdraw.WithdrawPipeline": 50,
    "battles.pipelines.gaps.GapsPipeline": 60,
    "battles.pipelines.validate.ValidatePipeline": 100,
    # Bytes before the index: what the index names can be read.
    "battles.pipelines.archive.ArchivePipeline": 200,
    "battles.pipelines.index.IndexPipeline": 300,
}

EXTENSIONS = {
    "extensions.json_logs.JsonLogs": 100,
    "extensions.throttle.Throttle": 150,
    "extensions.circuit_breaker.CircuitBreaker": 160,
    "battles.recovery.SpoolRecovery": 200,
    "battles.recovery.IndexRecovery": 210,
    "extensions.progress.ProgressBar": 300,
    "extensions.garbage.GarbageCollection": 400,
}

LOG_LEVEL = "INFO"
LOG_FORMATTER = "extensions.log_format.QuietLogFormatter"
WEBSOCKET_DIALOGUE = "battles.dialogue.ShowdownDialogue"
PROGRESS_UNIT = "battles"

# --- Politeness -----------------------------------------------------------------------------------

DEFAULT_REQUEST_HEADERS = {"Accept": "application/json"}
CONTACT = _environment("CONTACT", "")
ROBOTSTXT_OBEY = True
THROTTLE_RATE = _environment("THROTTLE_RATE", "2")  # requests a second to a host, of all workers
DOWNLOAD_DELAY = 0.0  # the throttle keeps the pauses; a worker's own would only add to them
DOWNLOAD_DELAY_JITTER = 0.0
AUTOTHROTTLE_ENABLED = True
AUTOTHROTTLE_START_DELAY = 0.1  # seconds
AUTOTHROTTLE_MAX_DELAY = 60.0  # seconds
AUTOTHROTTLE_TARGET_CONCURRENCY = 2.0
CONCURRENT_REQUESTS_PER_DOMAIN = 16
DOWNLOAD_TIMEOUT = 60.0  # seconds
DOWNLOAD_TIMEOUTS = {"discovery": 30.0}  # seconds; a page of a search is small
DOWNLOAD_VERIFY_CERTIFICATES = True

# --- Limits ---------------------------------------------------------------------------------------

CONCURRENT_REQUESTS = 16
CONCURRENT_ITEMS = 1  # a reply holds one battle; Scrapy starts this many tasks for each reply
RETRY_PRIORITY_ADJUST = 0  # a battle tried again stays in its lane
RETRY_TIMES = 8  # a site that fails one time in ten then loses one battle in a billion
DOWNLOAD_MAXSIZE = 32 * 1024 * 1024  # bytes; the largest replays have some 500 KB
SCRAPER_SLOT_MAX_ACTIVE_SIZE = 50_000_000  # bytes in processing: battles wait for their batch

# --- The browser, for `via=browser` ---------------------------------------------------------------

_CHROMIUM = which("chromium") or which("chromium-browser")
PLAYWRIGHT_LAUNCH_OPTIONS = {
    # Without one on PATH, the one that Playwright installs.
    **({"executable_path": _CHROMIUM} if _CHROMIUM else {}),
    "args": [
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        # Chromium's own sandbox does not work for root.
        *(["--no-sandbox"] if os.geteuid() == 0 else []),
    ],
}
PLAYWRIGHT_DEFAULT_NAVIGATION_TIMEOUT = 30_000  # milliseconds

# --- What is off ----------------------------------------------------------------------------------

REMOTE_CONTROL_ENABLED = False  # it runs the Python it is sent
TELNETCONSOLE_ENABLED = False
HTTPPROXY_ENABLED = bool(getproxies())  # where no proxy is set, there is nothing to look for
REDIRECT_ENABLED = False  # what redirects is not the site we asked; it becomes a dead letter
REDIRECT_PRIORITY_ADJUST = 0  # should somebody enable it: a battle that moved stays in its lane
COOKIES_ENABLED = False  # the site needs none

# --- Places: what differs between machines --------------------------------------------------------

REDIS_URL = _environment("REDIS_URL", "")
REDIS_CLUSTER = _environment("REDIS_CLUSTER", "0")  # whether that is a node of a cluster
EMBEDDED_REDIS_DIR = _environment("EMBEDDED_REDIS_DIR", ".scrapy/redis")
ARCHIVE_URL = _environment("ARCHIVE_URL", "data")
SPOOL_DIR = _environment("SPOOL_DIR", ".scrapy/spool")
AWS_ENDPOINT_URL = _environment("AWS_ENDPOINT_URL")
AWS_REGION_NAME = _environment("AWS_REGION_NAME")
SHOWDOWN_REPLAY_URL = _environment("SHOWDOWN_REPLAY_URL", "https://replay.pokemonshowdown.com")
SHOWDOWN_SERVER_URL = _environment("SHOWDOWN_SERVER_URL", "wss://sim3.psim.us/showdown/websocket")
SHOWDOWN_CLIENT_URL = _environment("SHOWDOWN_CLIENT_URL", "https://play.pokemonshowdown.com")
PSEUDONYM_KEY = _environment("PSEUDONYM_KEY", "")
