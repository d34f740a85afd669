"""Run the Lua that lives inside Redis."""

from __future__ import annotations

from contextlib import suppress
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from redis.cluster import RedisCluster
from redis.exceptions import NoScriptError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from redis import Redis

    Call = tuple[Sequence[Any], Sequence[Any]]
    """The keys and the further arguments of one run."""

_TRIES = 4
"""How often a script is loaded for one call: a failover may come between the two steps."""


class Script:
    """The `lua/NAME.lua` of a package, loaded wherever the server does not know it yet.

    It may begin with others of the same folder, which define what it calls.

    A server forgets scripts when it restarts, and after a failover the new primary never had them:
    they are not replicated since Redis 7.
    """

    def __init__(self, redis: Redis, package: str, name: str, *, after: Sequence[str] = ()) -> None:
        self._redis = redis
        folder = files(package).joinpath("lua")
        texts = [
            folder.joinpath(f"{one}.lua").read_text(encoding="utf-8") for one in (*after, name)
        ]
        self._script = redis.register_script("\n".join(texts))

    def __call__(self, keys: Sequence[Any], arguments: Sequence[Any]) -> Any:  # noqa: ANN401 -- whatever the script replies
        return self.run_each([(keys, arguments)])[0]

    def run_each(self, calls: Sequence[Call]) -> list[Any]:
        """Run the script once for each of the calls, in one round trip.

        Where the server breaks off in the middle, all are run again: they must be safe to repeat.
        """
        for _ in range(_TRIES):
            with suppress(NoScriptError):
                return self._run_each(calls)
            self._redis.script_load(self._script.script)
        return self._run_each(calls)

    def _run_each(self, calls: Sequence[Call]) -> list[Any]:
        sha = self._script.sha
        if len(calls) == 1:
            keys, arguments = calls[0]
            return [self._redis.evalsha(sha, len(keys), *keys, *arguments)]
        if isinstance(self._redis, RedisCluster):
            # Its pipelines run no scripts.
            return [self._redis.evalsha(sha, len(keys), *keys, *more) for keys, more in calls]
        with self._redis.pipeline(transaction=False) as pipeline:
            for keys, arguments in calls:
                pipeline.evalsha(sha, len(keys), *keys, *arguments)
            return pipeline.execute()
