"""How a pipeline declares a state, and where that is kept."""

from __future__ import annotations

import asyncio
import copy
import dataclasses
import json
import pickle
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tempo_runtime import (
    AuthoringError,
    SettingsError,
    State,
    StateError,
    StateOptions,
    describe,
    load,
    model,
    pipeline,
    predictmethod,
    save,
)
from tempo_runtime._util import extras
from tempo_runtime.artifact.store import read_description
from tempo_runtime.execution.explain import isolation
from tempo_runtime.settings import PipelineSettings, TlsSettings
from tests.helpers.stateful_pipelines import AsyncLedger, Ledger, counted

ENV = "TEMPO_RUNTIME_STATE__"


def new_ledger(**options: Any) -> Any:
    @pipeline("ledger", state=StateOptions(**options))
    class Fresh:
        state: State

        @predictmethod
        def do(self, key: str) -> int:
            return self.state.incr(key)

    return Fresh


def test_the_instances_of_a_class_share_its_state() -> None:
    ledger = new_ledger()
    assert [ledger().do("a"), ledger().do("a")] == [1, 2]
    assert new_ledger()().do("a") == 1


def test_pipelines_that_name_the_same_namespace_share_a_state() -> None:
    one, other = new_ledger(namespace="shared"), new_ledger(namespace="shared")
    assert [one().do("a"), other().do("a")] == [1, 2]


def test_a_derived_class_and_a_function_have_a_state() -> None:
    class Derived(new_ledger()):  # type: ignore[misc]
        pass

    assert Derived().do("a") == 1
    assert [counted(2), counted(3)] == [2, 5]


def test_an_async_pipeline_awaits_its_state() -> None:
    ledger = AsyncLedger()
    assert asyncio.run(ledger.do("count", "async")) == 1
    with pytest.raises(StateError, match=r"write `await self.state.aio.get\(...\)`"):
        asyncio.run(ledger.do("not awaited"))


async def test_a_sync_pipeline_uses_its_state_in_a_notebook_whose_loop_runs() -> None:
    assert new_ledger()().do("a") == 1


def test_an_isolated_copy_of_an_instance_has_the_same_state() -> None:
    ledger = new_ledger()()
    duplicate = isolation._fresh(ledger, {}, False)
    assert duplicate is not ledger
    assert duplicate.state is ledger.state


def test_a_pipeline_without_a_state_says_how_to_declare_one() -> None:
    @model("plain")
    def plain(x: int) -> int:
        return x

    with pytest.raises(
        AuthoringError, match=r'plain: .*@pipeline\("plain", state=StateOptions\(\)\)'
    ):
        _ = describe(plain).state


def test_an_attribute_that_would_hide_the_state_is_refused() -> None:
    class Hiding:
        def state(self) -> None: ...

        @predictmethod
        def do(self, x: int) -> int:
            return x

    with pytest.raises(AuthoringError, match="Hiding has an attribute `state`"):
        pipeline("hiding", state=StateOptions())(Hiding)
    pipeline("hiding")(Hiding)

    @dataclasses.dataclass
    class Record:
        state: State

        @predictmethod
        def do(self, x: int) -> int:
            return x

    with pytest.raises(AuthoringError, match=r"`state: ClassVar\[State\]`"):
        pipeline("record", state=StateOptions())(Record)


def test_options_of_another_type_are_refused() -> None:
    declare: Any = pipeline
    with pytest.raises(AuthoringError, match=r"write state=StateOptions\(\)"):
        declare("shop", state=True)


def test_a_state_is_not_saved_and_is_there_again_when_loaded(tmp_path: Path) -> None:
    ledger = Ledger()
    ledger.state.set("secret", "value-in-memory")
    save(ledger, str(tmp_path / "ledger"))
    content = [file.read_bytes() for file in (tmp_path / "ledger").rglob("*") if file.is_file()]
    assert not any(b"value-in-memory" in data or b"MemoryStore" in data for data in content)
    loaded = load(str(tmp_path / "ledger"))
    assert loaded.do("get", "secret") is None
    assert loaded.do("count") == 1
    assert read_description(str(tmp_path / "ledger")).state == {"timeout": 1.0}
    assert describe(loaded).details.state == StateOptions(timeout=1.0)


def test_a_state_that_an_instance_holds_is_refused_by_save(tmp_path: Path) -> None:
    ledger: Any = Ledger()
    ledger.kept = ledger.state
    with pytest.raises(Exception, match=r"self\.kept.* a state belongs to its process"):
        save(ledger, str(tmp_path / "ledger"))
    for way in (pickle.dumps, copy.copy):
        with pytest.raises(TypeError, match="a state belongs to its process"):
            way(ledger.state)  # type: ignore[operator]
        with pytest.raises(TypeError, match="a state belongs to its process"):
            way(ledger.state.aio)  # type: ignore[operator]


def test_a_pipeline_without_a_state_is_described_as_before(tmp_path: Path) -> None:
    @model("plain")
    def plain(x: int) -> int:
        return x

    save(plain, str(tmp_path))
    assert "state" not in json.loads((tmp_path / "tempo.json").read_text())


def test_options_are_merged_field_by_field() -> None:
    declared = StateOptions(url="redis://declared", timeout=5, ready=True)
    extra = {"state": {"url": "redis://file", "namespace": "file"}}
    environ = {f"{ENV}URL": "rediss://me:hunter2@env:7/1", f"{ENV}TLS__CA": "ca.pem"}
    settings = PipelineSettings.read(extra, environ).state_of(declared)
    assert settings is not None
    assert settings.address == "rediss://env:7/1"
    assert (settings.namespace, settings.timeout, settings.ready) == ("file", 5, True)
    assert settings.tls.ca == "ca.pem"
    assert "hunter2" not in f"{settings!r} {settings}"
    assert PipelineSettings.read(extra, environ).state_of(None) is None


def test_tls_is_merged_field_by_field() -> None:
    declared = StateOptions(url="rediss://redis", tls=TlsSettings(ca="ca.pem", key="declared.pem"))
    environ = {f"{ENV}TLS__CERT": "cert.pem", f"{ENV}TLS__KEY": "key.pem"}
    settings = PipelineSettings.read({}, environ).state_of(declared)
    assert settings is not None
    assert settings.tls == TlsSettings(ca="ca.pem", cert="cert.pem", key="key.pem")


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"password": "hunter2"}, "state.password may contain a credential"),
        ('{"username": "hunter2"}', "state.username may contain a credential"),
        ({"url": "redis://:hunter2@redis"}, f"state.url may contain a credential.*{ENV}URL"),
    ],
)
def test_credentials_in_a_file_are_refused(state: Any, message: str) -> None:
    with pytest.raises(SettingsError, match=message) as error:
        PipelineSettings.read({"state": state}, {})
    assert "hunter2" not in str(error.value)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("redis://:hunter2@redis", "must not contain a user or a password"),
        ("http://redis", "must be redis://HOST"),
        ("redis://", "must be redis://HOST"),
        ("redis://redis/x", "the number of a database"),
        ("redis://redis?password=hunter2", "only a host, a port"),
        ("redis://redis:x", "url: "),
    ],
)
def test_an_invalid_declared_url_is_refused(url: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message) as error:
        StateOptions(url=url)
    assert "hunter2" not in str(error.value)


def test_an_invalid_url_in_the_environment_is_refused_without_its_password() -> None:
    with pytest.raises(SettingsError, match=r"state\.url") as error:
        PipelineSettings.read({}, {f"{ENV}URL": "http://:hunter2@redis"})
    assert "hunter2" not in str(error.value)


def test_options_are_copied_with_changes_that_are_checked() -> None:
    options = StateOptions(url="redis://redis")
    assert options.replace(ready=True) == StateOptions(url="redis://redis", ready=True)
    with pytest.raises(SettingsError, match="StateOptions: timeout"):
        options.replace(timeout=0)


def test_the_missing_client_of_redis_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "redis"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "redis.asyncio", None)
    ledger = new_ledger(url="redis://127.0.0.1:1")
    with pytest.raises(SettingsError, match=re.escape(extras.command("state"))):
        ledger().do("a")


def test_arrays_are_kept_in_a_notebook() -> None:
    ledger = new_ledger()()
    ledger.state.set("weights", np.ones(3, "float32"))
    assert ledger.state.get("weights").dtype == np.float32
