"""Credentials for S3: which are refused, and how those that were replaced are found again."""

from __future__ import annotations

import json
import logging
import os
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from itertools import count
from threading import Barrier

import boto3
import pytest
from botocore.awsrequest import AWSResponse
from moto.core.authorization import enable_iam_authentication

from extensions.storage import RefusedError, StorageError
from extensions.storage_s3 import S3Storage
from tests.extensions.conftest import SECRET
from tests.extensions.storage_contract import KEY

NOWHERE = "http://127.0.0.1:1"
UNSET = {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}
"""Settings that leave the credentials to boto3."""

_numbers = count()


class User:
    """A user of the S3 server, who has one pair of keys at a time."""

    def __init__(self, s3_settings: dict[str, str]) -> None:
        self._iam = boto3.client(
            "iam",
            endpoint_url=s3_settings["AWS_ENDPOINT_URL"],
            region_name=s3_settings["AWS_REGION_NAME"],
            aws_access_key_id="root",
            aws_secret_access_key=SECRET,
        )
        self._name = f"user-{next(_numbers)}"
        self._iam.create_user(UserName=self._name)
        self.renew()

    def renew(self) -> None:
        """Create a pair of keys."""
        key = self._iam.create_access_key(UserName=self._name)["AccessKey"]
        self.keys = {
            "AWS_ACCESS_KEY_ID": key["AccessKeyId"],
            "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"],
        }

    def revoke(self) -> None:
        """Delete the pair of keys."""
        self._iam.delete_access_key(UserName=self._name, AccessKeyId=self.keys["AWS_ACCESS_KEY_ID"])

    def allow(self) -> None:
        """Let the user do anything in any bucket."""
        statement = {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}
        document = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        self._iam.put_user_policy(UserName=self._name, PolicyName="all", PolicyDocument=document)


@pytest.fixture
def stranger(s3_settings) -> User:
    """A user who may do nothing."""
    return User(s3_settings)


@pytest.fixture
def user(stranger) -> User:
    """A user who may do anything in any bucket."""
    stranger.allow()
    return stranger


@pytest.fixture
def credentials(tmp_path, monkeypatch):
    """The file in which boto3 looks for credentials, and the only place."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    path = tmp_path / "credentials"
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(path))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")

    def write(keys: dict[str, str]) -> None:
        lines = [f"{name.lower()} = {value}" for name, value in keys.items()]
        path.write_text("\n".join(["[default]", *lines]))

    return write


# --- What is logged -------------------------------------------------------------------------------


@pytest.fixture
def _loud_libraries(caplog):
    """Loggers of boto3's that take every message, as in a process that opened no store yet."""
    loggers = [logging.getLogger(name) for name in ("boto3", "botocore", "s3transfer", "urllib3")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.NOTSET)
    caplog.set_level(logging.DEBUG)
    yield
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)


@pytest.mark.usefixtures("_loud_libraries")
def test_no_debug_message_holds_credentials(s3_with, s3_bucket, caplog):
    keys = {"AWS_ACCESS_KEY_ID": "AKIAEXAMPLE", "AWS_SESSION_TOKEN": "a-token"}
    s3_with(f"s3://{s3_bucket}", **keys).check()

    assert "a-token" not in caplog.text
    assert "AKIAEXAMPLE" not in caplog.text
    assert "signature" not in caplog.text.lower()


@pytest.mark.usefixtures("_loud_libraries")
def test_who_wants_less_of_boto3_than_that_gets_less(s3_with, s3_bucket):
    logging.getLogger("botocore").setLevel(logging.ERROR)

    s3_with(f"s3://{s3_bucket}")

    assert logging.getLogger("botocore").level == logging.ERROR


# --- What is refused ------------------------------------------------------------------------------


@pytest.mark.usefixtures("credentials")
def test_no_credentials_at_all_are_refused(s3_with, s3_bucket):
    storage = s3_with(f"s3://{s3_bucket}/archive", **UNSET)

    with pytest.raises(RefusedError) as raised:
        storage.check()

    assert str(raised.value) == (
        f"nothing can be stored in s3://{s3_bucket}/archive/: Unable to locate credentials; "
        "check ARCHIVE_URL and the AWS settings"
    )


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        pytest.param({"AWS_SECRET_ACCESS_KEY": SECRET}, "SignatureDoesNotMatch", id="secret"),
        pytest.param({"AWS_ACCESS_KEY_ID": "AKIANOBODY"}, "InvalidAccessKeyId", id="key"),
        pytest.param({"AWS_SESSION_TOKEN": SECRET}, "InvalidToken", id="token"),
        pytest.param({}, "AccessDenied", id="a right key without rights"),
    ],
)
def test_credentials_that_open_nothing_are_refused(s3_with, s3_bucket, stranger, wrong, code):
    storage = s3_with(f"s3://{s3_bucket}", **{**stranger.keys, **wrong})

    with enable_iam_authentication(), pytest.raises(RefusedError, match=code) as raised:
        storage.check()

    message = str(raised.value)
    assert "\n" not in message
    assert not any(secret in message for secret in (SECRET, *stranger.keys.values()))


def test_keys_that_may_store_are_not_refused(s3_with, s3_bucket, user):
    with enable_iam_authentication():
        s3_with(f"s3://{s3_bucket}", **user.keys).check()


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        pytest.param(403, b"", RefusedError, id="forbidden"),
        pytest.param(404, b"", RefusedError, id="not found"),
        pytest.param(
            503, b"<Error><Code>SlowDown</Code></Error>", StorageError, id="too much at once"
        ),
        pytest.param(500, b"", StorageError, id="an error of its own"),
    ],
)
@pytest.mark.usefixtures("without_waits")
def test_what_a_server_answers_tells_whether_to_wait(s3_with, s3_bucket, status, body, kind):
    storage = s3_with(f"s3://{s3_bucket}")
    storage._client.meta.events.register(
        "before-send.s3.PutObject",
        lambda request, **_: AWSResponse(request.url, status, {}, Raw(body)),
    )

    with pytest.raises(StorageError) as raised:
        storage.check()

    assert type(raised.value) is kind


class Raw(BytesIO):
    """The body of an answer, as urllib3 has it."""

    def stream(self):
        yield self.read()


@pytest.mark.usefixtures("without_waits")
def test_a_server_that_is_away_is_not_refused(s3_with):
    with pytest.raises(StorageError, match=NOWHERE) as raised:
        s3_with("s3://bucket", AWS_ENDPOINT_URL=NOWHERE).check()

    assert not isinstance(raised.value, RefusedError)


# --- Credentials that are replaced ----------------------------------------------------------------


@pytest.fixture
def storage(s3_with, s3_bucket, user, credentials) -> S3Storage:
    """A store that found its credentials in a file."""
    credentials(user.keys)
    return s3_with(f"s3://{s3_bucket}/archive", **UNSET)


@pytest.fixture
def rotate(user, credentials):
    def rotate() -> None:
        user.revoke()
        user.renew()
        credentials(user.keys)

    return rotate


@pytest.mark.parametrize(
    "act",
    [
        pytest.param(lambda storage, path: storage.put(path, KEY), id="put"),
        pytest.param(lambda storage, _: storage.read(KEY, 0, 1), id="read"),
        pytest.param(lambda storage, _: storage.read_all(KEY), id="read_all"),
        pytest.param(lambda storage, _: list(storage.keys("raw/")), id="keys"),
        pytest.param(lambda storage, _: storage.check(), id="check"),
    ],
)
def test_credentials_that_were_replaced_are_read_again(storage, segment, rotate, act):
    storage.put(segment, KEY)
    rotate()

    with enable_iam_authentication():
        act(storage, segment)

    assert list(storage.keys("raw/")) == [KEY]
    assert storage.read_all(KEY) == b"bytes"


def test_a_listing_goes_on_where_the_credentials_were_replaced(storage, segment, rotate):
    storage._client.meta.events.register(
        "provide-client-params.s3.ListObjectsV2", lambda params, **_: {**params, "MaxKeys": 2}
    )
    keys = [f"raw/{n}" for n in range(5)]
    for key in keys:
        storage.put(segment, key)
    listing = storage.keys("raw/")
    first = next(listing)
    rotate()

    with enable_iam_authentication():
        rest = list(listing)

    assert [first, *rest] == keys


@pytest.mark.parametrize(
    "replaced",
    [
        pytest.param({}, id="gone"),
        pytest.param({"AWS_ACCESS_KEY_ID": "half a key"}, id="half"),
    ],
)
def test_credentials_that_are_being_replaced_are_read_until_they_are_whole(
    storage, segment, user, credentials, replaced
):
    user.revoke()
    user.renew()

    with enable_iam_authentication():
        credentials(replaced)
        for _ in range(2):
            with pytest.raises(StorageError):
                storage.put(segment, KEY)
        credentials(user.keys)
        storage.put(segment, KEY)

    assert storage.read_all(KEY) == b"bytes"


def test_credentials_that_stay_wrong_are_tried_once_more_and_no_oftener(
    storage, segment, user, monkeypatch
):
    connected = counted(monkeypatch, storage)
    user.revoke()

    with enable_iam_authentication(), pytest.raises(StorageError, match="InvalidAccessKeyId"):
        storage.put(segment, KEY)

    assert len(connected) == 1


def test_threads_that_fail_together_read_the_credentials_once(
    storage, segment, rotate, monkeypatch
):
    connected = counted(monkeypatch, storage)
    together = Barrier(4)
    storage._client.meta.events.register("after-call.s3.PutObject", lambda **_: together.wait(10))
    rotate()

    with enable_iam_authentication(), ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda n: storage.put(segment, f"raw/{n}"), range(4)))

    assert list(storage.keys("raw/")) == ["raw/0", "raw/1", "raw/2", "raw/3"]
    assert len(connected) == 1


def counted(monkeypatch, storage) -> list[None]:
    """Note each time that the store connects."""
    connected = []
    connect = storage._connect

    def count_and_connect():
        connected.append(None)
        return connect()

    monkeypatch.setattr(storage, "_connect", count_and_connect)
    return connected
