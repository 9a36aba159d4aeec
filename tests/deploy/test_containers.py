"""The compose file and the image: what they name is there, pinned, bounded, and in a form that recsvc takes."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import pytest

from recsvc import config
from recsvc.telemetry.trace_context import Sampling, sampling_of
from tests.deploy.files import DEPLOY, ROOT, dashboard, read_yaml

COMPOSE: Final = DEPLOY / "compose" / "compose.yaml"
SERVICES: Final[Mapping[str, Any]] = read_yaml(COMPOSE)["services"]
DOCKERFILE: Final = DEPLOY / "docker" / "Dockerfile"
PINNED: Final = re.compile(r"[a-z0-9/]+:v?\d+\.\d+(\.\d+)?(-[a-z0-9-]+)?")
WITH_DEFAULT: Final = re.compile(r"\$\{(?:env:)?(\w+):-([^}]*)\}")
EVERY: Final = pytest.mark.parametrize("service", SERVICES.values(), ids=SERVICES.keys())


def by_default(text: str) -> str:
    """Return a text with the defaults of its variables in their places."""
    return WITH_DEFAULT.sub(r"\2", text)


def instructions(name: str) -> list[str]:
    """Return what the Dockerfile's instructions of a name are given."""
    text = re.sub(r"\\\n", "", DOCKERFILE.read_text(encoding="utf-8"))
    return re.findall(rf"^{name} (.+)$", text, re.MULTILINE)


@pytest.mark.parametrize("path", sorted(DEPLOY.rglob("*.y*ml")), ids=lambda path: path.name)
def test_yaml_parses(path: Path) -> None:
    """Every YAML file can be read and has something in it."""
    assert read_yaml(path)


@EVERY
def test_services_are_pinned_watched_and_bounded(service: Mapping[str, Any]) -> None:
    """An image has a version, or is built here; each service has a health check and may take only so much."""
    if "image" in service:
        assert PINNED.fullmatch(service["image"])
    else:
        build = service["build"]
        assert (COMPOSE.parent / build["context"] / build["dockerfile"]).resolve() == DOCKERFILE
    assert service["healthcheck"]["test"][0] == "CMD"
    assert set(service["deploy"]["resources"]["limits"]) == {"cpus", "memory"}


@EVERY
def test_mounted_files_are_there(service: Mapping[str, Any]) -> None:
    """What is mounted of the repository exists, and is read only."""
    for volume in service.get("volumes", ()):
        source, _, rest = volume.partition(":")
        if source.startswith("."):
            assert (COMPOSE.parent / source).exists()
            assert rest.endswith(":ro")


@EVERY
def test_ports_are_for_this_machine_alone(service: Mapping[str, Any]) -> None:
    """What is published listens on loopback: nothing here asks who somebody is."""
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))


def test_recsvc_takes_what_it_is_given() -> None:
    """The flags are settings with values that are right, and the sampler is one that there is."""
    command, *arguments = SERVICES["recsvc"]["command"]
    assert command == "demo"
    by_flag = {config.flag(setting): setting for setting in config.SETTINGS}
    for argument in arguments:
        flag, _, value = argument.partition("=")
        config.parse(by_flag[flag], value, flag)
    environment = {name: by_default(value) for name, value in SERVICES["recsvc"]["environment"].items()}
    assert sampling_of(environment) == Sampling(1.0, by_parent=True)


@pytest.mark.parametrize("name", ["collector", "jaeger"])
def test_variables_of_a_configuration_have_defaults(name: str) -> None:
    """A configuration works without any variable, and the compose file sets none that it does not read."""
    text = (DEPLOY / "otel" / f"{name}.yaml").read_text(encoding="utf-8")
    defaults = dict(WITH_DEFAULT.findall(text))
    assert len(re.findall(r"\$\{", text)) == len(WITH_DEFAULT.findall(text))
    for variable, value in SERVICES[name].get("environment", {}).items():
        assert by_default(value) == defaults[variable]


def test_addresses_are_those_of_the_services() -> None:
    """Whoever asks another service asks it by its name, at a port that it listens on."""
    jaeger = (DEPLOY / "otel" / "jaeger.yaml").read_text(encoding="utf-8")
    assert "JAEGER_OTLP:-jaeger:4317" in (DEPLOY / "otel" / "collector.yaml").read_text(encoding="utf-8")
    assert "0.0.0.0:4317" in by_default(jaeger)
    sources = read_yaml(DEPLOY / "grafana" / "provisioning" / "datasources" / "recsvc.yaml")["datasources"]
    assert {source["url"] for source in sources} == {"http://prometheus:9090", "http://jaeger:16686"}
    scraped = read_yaml(DEPLOY / "prometheus" / "prometheus.yml")["scrape_configs"]
    found = {job["job_name"]: job["static_configs"][0]["targets"] for job in scraped}
    assert found == {"recsvc": ["recsvc:9464"], "collector": ["collector:8888"]}
    assert "--metrics-listen=0.0.0.0:9464" in SERVICES["recsvc"]["command"]


def test_the_image_is_pinned_and_runs_as_nobody() -> None:
    """Its base has a version, its last user is none of root's, and its program gets its signals itself."""
    assert all(PINNED.fullmatch(image.split()[0]) for image in instructions("FROM"))
    assert instructions("USER") == ["10001:10001"]
    assert instructions("STOPSIGNAL") == ["SIGTERM"]
    for given in [
        *instructions("ENTRYPOINT"),
        *instructions("CMD"),
        instructions("HEALTHCHECK")[0].partition("CMD ")[2],
    ]:
        assert isinstance(json.loads(given), list), "a shell would stand between"


def test_the_image_is_made_of_files_that_are_let_in() -> None:
    """What is copied from the repository exists, and .dockerignore lets it through."""
    ignore = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    copied = [part for given in instructions("COPY") if "--from" not in given for part in given.split()[:-1]]
    assert copied
    for source in copied:
        assert (ROOT / source).exists()
        assert f"!{source}" in ignore


def test_the_dashboard_fits_its_page() -> None:
    """Panels have ids of their own, lie beside each other, and ask the data source that the page chooses."""
    page = dashboard()
    panels = page["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    cells = [
        (panel["gridPos"]["x"] + x, panel["gridPos"]["y"] + y)
        for panel in panels
        for x in range(panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["h"])
    ]
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) < 24
    assert {panel["datasource"]["uid"] for panel in panels if panel["type"] != "row"} == {"${datasource}"}
    assert any(target.get("exemplar") for panel in panels for target in panel.get("targets", ()))
