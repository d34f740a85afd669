"""What lies in `deploy/` fits the code and itself, as far as can be told without a registry."""

from __future__ import annotations

import re
import subprocess
from collections import defaultdict
from pathlib import Path

import pytest
import yaml
from botocore.credentials import EnvProvider
from scrapy.spiderloader import SpiderLoader
from scrapy.utils.project import get_project_settings

from battles import browser, settings
from extensions import exchange, lines, storage_s3
from tests.containerfile import read_stages
from tests.integration.environments import INSTALL

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"
BUILD, IMAGE = read_stages((DEPLOY / "Containerfile").read_text())
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
SERVICES = COMPOSE["services"]
OURS = [service for service in SERVICES.values() if service["image"] == "battles"]
KUBERNETES = list(yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text()))
[WORKERS] = [one["spec"] for one in KUBERNETES if one["kind"] == "StatefulSet"]
POD = WORKERS["template"]["spec"]
[CONTAINER] = POD["containers"]
EXAMPLE = re.findall(
    r"^#?([A-Z_]+)=(.*)$", (DEPLOY / "battles.env.example").read_text(), re.MULTILINE
)
SETTINGS_TABLE = (ROOT / "docs" / "reference" / "settings.md").read_text(encoding="utf-8")
SECRET = re.compile("KEY|SECRET|PASSWORD|TOKEN")


def unit() -> dict[str, list[str]]:
    """Everything that the unit sets, by name; some names stand there twice."""
    found = defaultdict(list)
    for line in (DEPLOY / "battles-worker@.service").read_text().splitlines():
        name, is_one, value = line.partition("=")
        if is_one and not line.startswith("#"):
            found[name].append(value)
    return found


UNIT = unit()


def environments() -> dict[str, dict[str, str]]:
    """What each file has in the environment of a worker: names, and values as they are written."""
    of_image = dict(pair.split("=", 1) for pair in " ".join(IMAGE.all("ENV")).split())
    del of_image["PATH"]
    of_unit = dict(pair.split("=", 1) for pair in UNIT["Environment"])
    assert of_unit.pop("ARGUMENTS") == ""
    return {
        "Containerfile": of_image,
        "battles.env.example": dict(EXAMPLE),
        "compose.yaml": {k: v for one in OURS for k, v in one["environment"].items()},
        "kubernetes.yaml": {one["name"]: one.get("value", "") for one in CONTAINER["env"]},
        "battles-worker@.service": of_unit,
    }


def read_from_the_environment() -> set[str]:
    ours = re.findall(r'_environment\("(\w+)"', Path(settings.__file__).read_text())
    boto3s = {EnvProvider.ACCESS_KEY, EnvProvider.SECRET_KEY, *EnvProvider.TOKENS}
    return {*ours, *boto3s, "SCRAPY_SETTINGS_MODULE"}


def default(name: str) -> float:
    """Return what a setting is unless it is set, by the table of settings."""
    [value] = re.findall(rf"`{name}` \| ([\d.]+) \|", SETTINGS_TABLE)
    return float(value)


def leaving() -> list[float]:
    """Return the seconds that a worker waits for at most that is told to leave, in turn."""
    navigation = settings.PLAYWRIGHT_DEFAULT_NAVIGATION_TIMEOUT / 1000
    by_lane = settings.DOWNLOAD_TIMEOUTS.values()
    return [
        max(settings.DOWNLOAD_TIMEOUT, navigation, *by_lane),
        # What is being written, and two more tries at a disk that is full.
        3 * default("SEGMENT_COMMIT_DELAY"),
        3 * browser._FAREWELL + lines._FAREWELL,
        storage_s3._CONFIG.connect_timeout + storage_s3._CONFIG.read_timeout,
        exchange._FAREWELL,
    ]


STOPS = {
    "compose.yaml": SERVICES["worker"]["stop_grace_period"],
    "battles-worker@.service": UNIT["TimeoutStopSec"][0],
    "kubernetes.yaml": POD["terminationGracePeriodSeconds"],
}
CRAWLS = {
    "Containerfile": IMAGE.words("CMD"),
    "compose.yaml": SERVICES["worker"]["command"],
    "kubernetes.yaml": CONTAINER["args"],
}


@pytest.mark.parametrize("file", environments())
def test_every_variable_is_one_that_is_read(file):
    named = set(environments()[file])

    assert named
    assert named <= read_from_the_environment()


def test_the_files_name_the_same_settings_module():
    names = {one.get("SCRAPY_SETTINGS_MODULE") for one in environments().values()}

    assert names == {"battles.settings", None}


@pytest.mark.parametrize("file", environments())
def test_no_secret_is_written_down(file):
    text = (DEPLOY / file).read_text()

    written = {k: v for k, v in environments()[file].items() if SECRET.search(k) and v}

    assert not written
    assert not re.search(r"://[^/\s]+:[^/\s]+@|AKIA[0-9A-Z]{16}|kind: Secret", text)


def test_the_store_takes_its_keys_from_the_environment():
    values = list(SERVICES["store"]["environment"].values())

    assert len(values) > 1
    assert all(re.fullmatch(r"\$\{\w+:\?.+\}", value) for value in values)


def test_kubernetes_takes_what_is_secret_from_a_secret():
    secret = {one["name"] for one in CONTAINER["env"] if "secretKeyRef" in one.get("valueFrom", {})}

    assert secret == {"REDIS_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}


@pytest.mark.parametrize("file", STOPS)
def test_a_worker_has_the_time_that_leaving_takes(file):
    given = float(str(STOPS[file]).removesuffix("s"))

    assert given >= sum(leaving())


def test_the_page_says_how_long_leaving_takes():
    text = (ROOT / "docs/how-to/deployment.md").read_text(encoding="utf-8")
    section = text.partition("## How long stopping takes")[2].partition("\n## ")[0]

    said = re.findall(r"^\| .+ \| (\d+) \| ", section, re.MULTILINE)
    [total, given] = re.findall(r"that is (\d+) s; all files allow (\d+) s", section)[0]

    assert [float(seconds) for seconds in said] == leaving()
    assert float(total) == sum(leaving())
    assert {f"{given}s", given, int(given)} == set(STOPS.values())


def test_the_page_names_every_file():
    text = (ROOT / "docs/how-to/deployment.md").read_text(encoding="utf-8")

    assert not {path.name for path in DEPLOY.iterdir() if f"deploy/{path.name}" not in text} - {
        ".env"
    }


def test_a_worker_is_told_to_leave_and_nobody_else_with_it():
    assert IMAGE.last("STOPSIGNAL") == "SIGTERM"
    assert UNIT["KillSignal"] == ["SIGTERM"]
    assert UNIT["KillMode"] == ["mixed"]
    assert IMAGE.words("ENTRYPOINT") == UNIT["ExecStart"][0].split()[:1]


@pytest.mark.parametrize("file", CRAWLS)
def test_what_is_crawled_is_there_and_takes_these_arguments(file):
    crawl, name, *options = CRAWLS[file]
    given = dict(pair.split("=") for pair in options[1::2])

    spider = SpiderLoader(get_project_settings()).load(name)(**given)

    assert crawl == "crawl"
    assert options[::2] == ["-a"] * len(given)
    assert spider.name == name


def test_bad_input_does_not_start_a_worker_again():
    assert UNIT["Restart"] == ["on-failure"]
    assert UNIT["RestartPreventExitStatus"] == ["2"]


def test_nobody_is_root():
    user, _, group = IMAGE.last("USER").partition(":")
    security = POD["securityContext"]

    assert int(user) > 0
    assert (int(user), int(group)) == (security["runAsUser"], security["runAsGroup"])
    assert security["fsGroup"] == int(group)
    assert security["runAsNonRoot"] is True
    assert CONTAINER["securityContext"]["allowPrivilegeEscalation"] is False
    assert SERVICES["worker"]["cap_drop"] == ["ALL"]
    assert UNIT["User"] == ["battles"]
    assert UNIT["NoNewPrivileges"] == ["yes"]
    assert UNIT["ProtectSystem"] == ["strict"]


def test_the_spool_is_where_the_worker_stands_and_outlives_it():
    folder = IMAGE.last("WORKDIR")
    [claim] = WORKERS["volumeClaimTemplates"]
    name, _, where = SERVICES["worker"]["volumes"][0].partition(":")

    assert IMAGE.last("VOLUME") == where == folder
    assert name in COMPOSE["volumes"]
    assert {"name": claim["metadata"]["name"], "mountPath": folder} in CONTAINER["volumeMounts"]
    assert UNIT["WorkingDirectory"] == [f"%S/{UNIT['StateDirectory'][0]}"]
    assert not Path(settings.SPOOL_DIR).is_absolute()


def test_the_volume_of_the_spool_holds_what_may_wait_there():
    [claim] = WORKERS["volumeClaimTemplates"]
    size = claim["spec"]["resources"]["requests"]["storage"]

    assert int(size.removesuffix("Gi")) * 1024**3 > default("SPOOL_LIMIT")


@pytest.mark.parametrize("name", [name for name in SERVICES if "ports" in SERVICES[name]])
def test_ports_are_published_to_this_machine_only(name):
    assert {port.partition(":")[0] for port in SERVICES[name]["ports"]} == {"127.0.0.1"}


def test_kubernetes_publishes_nothing():
    services = [one["spec"] for one in KUBERNETES if one["kind"] == "Service"]

    assert {(one["clusterIP"], "ports" in one) for one in services} == {("None", False)}
    assert not {"ports", "hostPort"} & set(CONTAINER)
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(POD)


def test_no_probe_kills_a_worker_for_what_lies_outside_it():
    probes = {name for name in CONTAINER if name.endswith("Probe")}

    assert probes == {"readinessProbe"}
    assert CONTAINER["readinessProbe"]["exec"]["command"] == ["scrapy", "queue"]


def test_redis_keeps_the_queue():
    command = " ".join(SERVICES["redis"]["command"])

    assert "--appendonly yes" in command
    assert "--maxmemory-policy noeviction" in command
    assert any(volume.endswith(":/data") for volume in SERVICES["redis"]["volumes"])


def test_workers_begin_when_redis_and_the_bucket_are_there():
    conditions = {k: v["condition"] for k, v in SERVICES["worker"]["depends_on"].items()}

    assert conditions == {
        "redis": "service_healthy",
        "bucket": "service_completed_successfully",
    }
    assert SERVICES["worker"]["deploy"]["replicas"] >= 2


@pytest.mark.parametrize("source", BUILD.sources() + IMAGE.sources())
def test_every_file_that_is_copied_is_in_the_repository(source):
    command = ["git", "ls-files", "--error-unmatch", source]

    told = subprocess.run(command, cwd=ROOT, capture_output=True, check=False)

    assert told.returncode == 0


def test_nothing_else_is_sent_to_the_builder():
    lines = (ROOT / ".containerignore").read_text().splitlines()
    first, *others = [line for line in lines if line and not line.startswith("#")]

    assert first == "*"
    assert {line[1:] for line in others if line.startswith("!")} == set(BUILD.sources())


def test_docker_ignores_the_same():
    assert (ROOT / ".dockerignore").read_bytes() == (ROOT / ".containerignore").read_bytes()


def test_the_settings_of_compose_are_not_tracked():
    assert {service["env_file"] for service in OURS} == {".env"}
    assert "/deploy/.env" in (ROOT / ".gitignore").read_text().splitlines()


@pytest.mark.parametrize(
    "command", [one for run in BUILD.all("RUN") for one in run.split(" && ") if "pip" in one][1:]
)
def test_what_is_locked_is_installed_as_it_is_locked(command):
    if "-r " in command:
        assert set(INSTALL) <= set(command.split())
        assert command.endswith(".lock")
    else:
        assert {"--no-deps", "--no-index"} <= set(command.split())


def test_the_image_has_nothing_that_builds():
    assert BUILD.name == "build"
    assert not re.search(r"\b(pip|apt|apt-get|gcc|make)\b", " ".join(IMAGE.all("RUN")))
    assert [copy.split() for copy in IMAGE.all("COPY")] == [
        ["--from=build", "/opt/battles", "/opt/battles"]
    ]
