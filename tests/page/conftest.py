"""A real server with pipelines, and a real Chromium: one of each for all tests of the page."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import dill
import pytest

from tempo_runtime import save
from tempo_runtime.testing import free_ports
from tests.execution.explain import rules
from tests.execution.explain.test_served import ROWS, SEED
from tests.helpers.command_line import Serving
from tests.page.pipelines import PIPELINES

_NAMES = ("chromium", "chromium-browser", "google-chrome")
_FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
)


@dataclass
class Site:
    """A server that shows the page.

    Attributes:
        url: Its address.
        gate: A file; the pipelines that wait go on when it is there.
    """

    url: str
    gate: Path


@dataclass
class Opened:
    """A page in the browser, and what it did.

    Attributes:
        page: Playwright's page.
        hosts: The hosts that it asked.
        errors: The errors of its scripts, and what its content security policy refused.
    """

    page: Any
    hosts: set[str] = field(default_factory=set)
    errors: list[str] = field(default_factory=list)


def _save_rules(folder: Path) -> None:
    with warnings.catch_warnings():  # of alibi and what it imports, about themselves
        warnings.simplefilter("ignore")
        from alibi.explainers import AnchorTabular
    explainer = AnchorTabular(rules.label, rules.NAMES, seed=SEED).fit(ROWS)
    explainer.predictor = explainer.samplers[0].predictor = None
    folder.mkdir()
    (folder / "explainer.dill").write_bytes(dill.dumps(explainer))
    save(rules.Rules, str(folder))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, browser: Any) -> Iterator[Site]:
    del browser  # without one, no server starts in vain
    root = tmp_path_factory.mktemp("site")
    folders = []
    for target in PIPELINES:
        name = target.get_tempo().details.name  # type: ignore[attr-defined]
        folders.append(save(target, str(root / name)))
    _save_rules(root / "rules")
    folders += [save(rules.labels, str(root / "labels")), str(root / "rules")]
    gate, port = root / "gate", free_ports(1)[0]
    extra = {
        "PAGE_GATE": str(gate),
        "RULES_GATE": str(gate),
        "TEMPO_RUNTIME_MODELS__LABELS__URI": str(root / "labels"),
        "TEMPO_RUNTIME_MODELS__SUMS__URI": str(root / "sums"),
    }
    with pytest.MonkeyPatch.context() as patch:
        for variable, value in extra.items():
            patch.setenv(variable, value)
        serving = Serving(root, *folders, "--port", str(port))
    with serving:
        serving.wait_for(f"http://127.0.0.1:{port}")
        yield Site(f"http://127.0.0.1:{port}/", gate)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    path = next((path for path in map(shutil.which, _NAMES) if path), None)
    if path is None:
        pytest.skip("Chromium is not installed here")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=_FLAGS.split())
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser: Any, site: Site) -> Iterator[Callable[..., Opened]]:
    """Open the page of a pipeline; other hosts cannot be reached, and errors fail the test.

    `change` changes the document at /openapi.json.
    """
    contexts = []
    own = urlsplit(site.url).netloc

    def opened(name: str = "", change: Any = None, **options: Any) -> Opened:
        context = browser.new_context(viewport={"width": 1280, "height": 900}, **options)
        contexts.append(context)
        context.set_default_timeout(20_000)
        result = Opened(context.new_page())
        result.page.on("pageerror", lambda error: result.errors.append(str(error)))
        result.page.on("console", lambda message: _note(message, result.errors))

        def route(route: Any) -> None:
            host = urlsplit(route.request.url).netloc
            result.hosts.add(host)
            if host != own:
                route.abort()
            elif change is not None and route.request.url.endswith("/openapi.json"):
                document = route.fetch().json()
                change(document)
                route.fulfill(json=document)
            else:
                route.continue_()

        context.route("**/*", route)
        result.page.goto(f"{site.url}#{name}")
        result.page.get_by_role("heading", level=1).wait_for()
        results.append(result)
        return result

    results: list[Opened] = []
    yield opened
    for context in contexts:
        context.close()
    assert [result.errors for result in results if result.errors] == []
    assert {host for result in results for host in result.hosts} <= {own}


def _note(message: Any, errors: list[str]) -> None:
    # Chromium also notes each status that a test brings about.
    if message.type == "error" and "Failed to load resource" not in message.text:
        errors.append(message.text)
