"""Use a Redis Cluster as one would one server: what is away for a while is waited for."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from redis.backoff import ExponentialBackoff
from redis.cluster import RedisCluster
from redis.exceptions import ClusterDownError, RedisClusterException
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

if TYPE_CHECKING:
    from collections.abc import Callable

    from redis.cluster import ClusterPipeline

_OURS = "same key slot"
"""What redis-py says of keys that do not belong together: a mistake, and no reason to wait."""


class PatientCluster(RedisCluster):
    """A client that repeats what it is asked while no node answers for it.

    redis-py raises what is no `RedisError` when no node can be reached; here it is what a single
    server that is away raises.
    """

    patience = 9.0
    """Seconds for which a command is repeated."""

    def execute_command(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 -- redis-py's own
        return _patiently(partial(super().execute_command, *args, **kwargs), self.patience)

    def pipeline(self, *args: Any, **kwargs: Any) -> ClusterPipeline:  # noqa: ANN401 -- as above
        pipeline: Any = super().pipeline(*args, **kwargs)  # type: ignore[no-untyped-call]
        execute = pipeline.execute

        def execute_once(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 -- as above
            # It forgets its commands when it fails, so that whoever filled it repeats it.
            return _patiently(partial(execute, *args, **kwargs), 0.0)

        pipeline.execute = execute_once
        return cast("ClusterPipeline", pipeline)


def _patiently(do: Callable[[], Any], patience: float) -> Any:  # noqa: ANN401 -- whatever it returns
    deadline, backoff, failures = time.monotonic() + patience, ExponentialBackoff(2.0, 0.05), 0
    while True:
        try:
            return do()
        except RedisClusterException as error:
            if _OURS in str(error):
                raise
            away: Exception = RedisConnectionError(str(error))
        except (ClusterDownError, RedisConnectionError, RedisTimeoutError) as error:
            away = error
        failures += 1
        pause = backoff.compute(failures)
        if time.monotonic() + pause > deadline:
            raise away
        time.sleep(pause)
