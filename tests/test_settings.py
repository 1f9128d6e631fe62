"""Settings of a deployment, from model-settings.json and from the environment."""

from __future__ import annotations

import importlib
import json
import pkgutil
import traceback
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import BaseModel

import tempo_runtime
from tempo_runtime import SeldonCoreOptions
from tempo_runtime.deploy.kubernetes.manifests.options import Logger
from tempo_runtime.deploy.options import DockerOptions, LocalOptions
from tempo_runtime.errors import SettingsError
from tempo_runtime.settings import (
    Batching,
    CheckedOptions,
    ChildSettings,
    InsightsOptions,
    PipelineSettings,
    ServerSettings,
    StateOptions,
    check_children,
)

URL = "http://income:9000"


def read(extra: Any = None, **environ: str) -> PipelineSettings:
    return PipelineSettings.read(
        extra, {f"TEMPO_RUNTIME_{name}": value for name, value in environ.items()}
    )


def test_defaults_need_no_settings() -> None:
    settings = PipelineSettings.read(None, {})
    assert (settings.timeout, settings.models) == (60.0, {})
    assert settings.child("any").url is None


@pytest.mark.parametrize("extra", [{"timeout": 5}, {"timeout": "5"}])
def test_number_may_be_a_string(extra: Any) -> None:
    assert read(extra).timeout == 5.0


@pytest.mark.parametrize(
    "models",
    [
        {"a": {"url": URL}},
        json.dumps({"a": {"url": URL}}),
        {"a": json.dumps({"url": URL})},
        " " + json.dumps({"a": json.dumps({"url": URL})}),
    ],
)
def test_children_may_be_json_at_any_depth(models: Any) -> None:
    assert read({"models": models}).child("a").url == (URL,)
    assert read({"models": models}, MODELS__A__TIMEOUT="3").child("a").url == (URL,)


def test_authors_own_keys_are_left_alone() -> None:
    assert read({"prompt": "{hello} [", "other": 1}).timeout == 60.0


@pytest.mark.parametrize(
    "environ",
    [
        {"MODELS__A__URL": URL},
        {"MODELS__A": json.dumps({"url": URL})},
        {"MODELS": json.dumps({"a": {"url": URL}})},
        {"MODELS": json.dumps({"A": {"url": "http://old"}}), "MODELS__A__URL": URL},
    ],
)
def test_environment_wins_field_by_field(environ: dict[str, str]) -> None:
    extra = {"timeout": 7, "models": {"a": {"url": "http://other", "model": "m"}, "b": {}}}
    settings = read(extra, **environ)
    assert (settings.child("a").url, settings.child("a").model) == ((URL,), "m")
    assert settings.timeout == 7
    assert "b" in settings.models


def test_environment_wins_over_a_number() -> None:
    assert read({"timeout": 7}, TIMEOUT="8", SEED="3").timeout == 8


def test_other_variables_are_not_read() -> None:
    assert PipelineSettings.read({}, {"TIMEOUT": "1", "TEMPO_TIMEOUT": "2"}).timeout == 60


@pytest.mark.parametrize("extra", [None, {"models": {"SKLearn": {"model": "m"}}}])
def test_alias_with_upper_case_is_found_by_a_variable(extra: Any) -> None:
    assert read(extra, MODELS__SKLEARN__URL=URL).child("SKLearn").url == (URL,)


def test_child_is_filled_in_from_the_pipeline() -> None:
    settings = read({"base_url": URL + "/", "transport": "http", "models": {"a": {"version": "2"}}})
    child = settings.child("a")
    assert (child.url, child.transport, child.version) == ((URL,), "http", "2")
    assert settings.child("unnamed").url == (URL,)


def test_child_in_this_process_has_no_url() -> None:
    settings = read({"base_url": URL, "models": {"a": {"transport": "in_process"}}})
    assert settings.child("a").url is None


@pytest.mark.parametrize(
    ("extra", "match"),
    [
        ({"timeout": "soon"}, "timeout: .*number.*'soon'"),
        ({"timeout": 0}, "timeout: .*greater than 0"),
        ({"timeout": "inf"}, "timeout: .*finite"),
        ({"seed": -1}, "seed: "),
        ({"seed": 2**32}, "seed: "),
        ({"max_concurrency": 0}, "max_concurrency: "),
        ({"drain_timeout": -1}, "drain_timeout: "),
        ({"transport": "smtp"}, "transport: .*'in_process', 'http' or 'grpc'"),
        ({"base_url": "income:9000"}, "base_url: .*http://HOST"),
        ({"base_url": "http://"}, "base_url: .*http://HOST"),
        ({"base_url": "http://a b"}, "base_url: .*http://HOST"),
        ({"base_url": "http://a:port"}, "base_url: .*Port"),
        ({"base_url": 5}, "base_url: .*tuple"),
        ({"base_url": []}, "base_url: .*must not be empty"),
        ({"base_url": ["http://a", "grpc://b"]}, "base_url: .*must use HTTP, or all of them gRPC"),
        ({"base_url": "http://me:secret@a"}, "base_url: .*must not contain a password"),
        ({"unavailable_timeout": -1}, "unavailable_timeout: "),
        ({"retries": 1.5}, "retries: "),
        ({"max_queue": -1}, "max_queue: "),
        ({"tls": {"verfy": False}}, r"tls\.verfy: Extra"),
        ({"models": "sklearn"}, "models: .*dictionary"),
        ({"models": "{"}, "models: .*not JSON"),
        ({"models": {"a": "["}}, r"models\.a: .*not JSON"),
        ({"models": {"a": {"url": "nowhere"}}}, r"models\.a\.url: .*http://HOST"),
        ({"models": {"a": {"timeout": "x"}}}, r"models\.a\.timeout: "),
        ({"models": {"a": {"ulr": URL}}}, r"models\.a\.ulr: Extra inputs are not permitted"),
    ],
)
def test_wrong_setting_is_refused_by_name(extra: Any, match: str) -> None:
    with pytest.raises(SettingsError, match=match):
        read(extra)


@pytest.mark.parametrize(
    ("extra", "environ", "match"),
    [
        ({}, {"TIMEOUT": "soon"}, "timeout: .*number"),
        ({}, {"MODELS__A__ULR": URL}, r"models\.a\.ulr: Extra"),
        ({}, {"MODELS__A": "x", "MODELS__A__URL": URL}, "models: a: must be a JSON object"),
        ({"models": "{"}, {"MODELS__A__URL": URL}, "models: not JSON"),
    ],
)
def test_wrong_variable_is_refused_by_name(extra: Any, environ: Any, match: str) -> None:
    with pytest.raises(SettingsError, match=match):
        read(extra, **environ)


def test_every_fault_is_named_at_once() -> None:
    with pytest.raises(SettingsError, match=r"timeout: .*; seed: "):
        read({"timeout": "x", "seed": "y"})


@pytest.mark.parametrize("models", [{"SKlearn": {}}, '{"sklearn": {}}', {}, None])
def test_settings_of_known_children_are_accepted(models: Any) -> None:
    check_children({"models": models}, ["sklearn", "xgboost"])
    check_children({}, [])


@pytest.mark.parametrize("models", [{"lgbm": {}}, '{"lgbm": {}}'])
def test_settings_of_an_unknown_child_are_refused(models: Any) -> None:
    with pytest.raises(SettingsError, match="does not have: lgbm; its children are: sklearn"):
        check_children({"models": models}, ["sklearn"])


@pytest.mark.parametrize(
    ("extra", "url", "transport"),
    [
        ({}, None, "in_process"),
        ({"base_url": "grpc://a:1"}, "grpc://a:1", "grpc"),
        ({"base_url": "grpcs://a"}, "grpcs://a", "grpc"),
        ({"base_url": URL}, URL, "http"),
        ({"base_url": URL, "transport": "in_process"}, None, "in_process"),
        ({"base_url": URL, "transport": "grpc"}, None, "grpc"),
        ({"base_url": URL, "models": {"a": {"url": "grpc://a:1"}}}, "grpc://a:1", "grpc"),
        ({"transport": "http"}, None, "http"),
    ],
)
def test_the_scheme_of_a_url_says_the_transport(
    extra: dict[str, Any], url: str | None, transport: str
) -> None:
    child = read(extra).child("a")
    assert (child.url, child.transport) == (url and (url,), transport)


def test_a_transport_and_a_url_of_another_are_refused() -> None:
    with pytest.raises(
        SettingsError, match=r"child 'a': the URL http.* does not match the transport grpc"
    ):
        read({"models": {"a": {"transport": "grpc", "url": URL}}}).child("a")


def test_several_urls_are_a_list_or_have_commas() -> None:
    urls = ("http://a", "http://b:80")
    for written in (list(urls), json.dumps(urls), " http://a ,http://b:80/"):
        assert read({"models": {"a": {"url": written}}}).child("a").url == urls
    assert read(MODELS__A__URL="http://a,http://b:80").child("a").url == urls


def test_a_childs_option_wins_over_the_pipelines() -> None:
    extra = {
        "retries": 5,
        "unavailable_timeout": 1,
        "models": {"a": {"retries": "0", "connect_timeout": 2}},
    }
    settings = read(extra, TLS__CA="/ca.pem", MODELS__B__TLS='{"verify": "false"}')
    one, two = settings.child("a"), settings.child("b")
    assert (one.retries, one.unavailable_timeout, one.connect_timeout, one.tls.ca) == (
        0,
        1,
        2,
        "/ca.pem",
    )
    assert (two.retries, two.connect_timeout, two.tls.verify) == (5, 5, False)


RENAMED = [
    ({"patience": 1}, {"unavailable_timeout": 1}),
    ({"best_so_far": True}, {"allow_incomplete_anchors": True}),
    ({"models": {"a": {"patience": 1}}}, {"models": {"a": {"unavailable_timeout": 1}}}),
    ({"models": {"a": {"squeeze": False}}}, {"models": {"a": {"flatten_single_column": False}}}),
    ({"models": {"a": {"fast": True}}}, {"models": {"a": {"fast_sklearn": True}}}),
    ({"models": '{"a": {"fast": "1"}}'}, {"models": {"a": {"fast_sklearn": True}}}),
    ({"models": {"a": '{"fast": true}'}}, {"models": {"a": {"fast_sklearn": True}}}),
]


@pytest.mark.parametrize(("deprecated", "present"), RENAMED)
def test_a_deprecated_name_in_model_settings_works_and_warns(deprecated: Any, present: Any) -> None:
    with pytest.warns(DeprecationWarning, match=r"setting .* is deprecated; write "):
        settings = read(deprecated)
    assert settings == read(present)


@pytest.mark.parametrize(
    ("variable", "value", "present"),
    [
        ("PATIENCE", "1", {"unavailable_timeout": 1}),
        ("BEST_SO_FAR", "1", {"allow_incomplete_anchors": True}),
        ("MODELS__A__PATIENCE", "1", {"models": {"a": {"unavailable_timeout": 1}}}),
        ("MODELS__A__SQUEEZE", "0", {"models": {"a": {"flatten_single_column": False}}}),
        ("MODELS__A__FAST", "1", {"models": {"a": {"fast_sklearn": True}}}),
        ("MODELS", '{"a": {"fast": true}}', {"models": {"a": {"fast_sklearn": True}}}),
    ],
)
def test_a_deprecated_name_of_a_variable_works_and_warns(
    variable: str, value: str, present: Any
) -> None:
    with pytest.warns(DeprecationWarning, match=r"setting .* is deprecated; write "):
        settings = read(**{variable: value})
    assert settings == read(present)


def test_deprecated_names_of_arguments_work_and_warn() -> None:
    with pytest.warns(DeprecationWarning, match="setting patience is deprecated"):
        assert PipelineSettings(patience=1).unavailable_timeout == 1  # type: ignore[call-arg]
    with pytest.warns(DeprecationWarning, match="write flatten_single_column"):
        assert ChildSettings(squeeze=True).flatten_single_column  # type: ignore[call-arg]


def test_the_warning_names_the_child() -> None:
    with pytest.warns(
        DeprecationWarning, match=r"models\.a\.fast is deprecated; write models\.a\.fast_sklearn$"
    ):
        read({"models": {"a": {"fast": True}}})


def test_the_environment_takes_precedence_by_either_name() -> None:
    with pytest.warns(DeprecationWarning, match="setting patience"):
        settings = read({"unavailable_timeout": 1}, PATIENCE="2")
    assert settings.unavailable_timeout == 2
    with pytest.warns(DeprecationWarning, match="setting patience"):
        settings = read({"patience": 1}, UNAVAILABLE_TIMEOUT="2")
    assert settings.unavailable_timeout == 2
    with pytest.warns(DeprecationWarning, match="setting models.A.fast"):
        settings = read({"models": {"A": {"fast": False}}}, MODELS__A__FAST_SKLEARN="1")
    assert settings.child("A").fast_sklearn


@pytest.mark.parametrize(
    ("both", "match"),
    [
        ({"patience": 1, "unavailable_timeout": 2}, "patience is the deprecated name of unavail"),
        (
            {"models": {"a": {"fast": True, "fast_sklearn": True}}},
            r"models\.a\.fast is the deprecated name of models\.a\.fast_sklearn; remove one",
        ),
    ],
)
def test_both_names_of_a_setting_in_one_place_are_refused(both: Any, match: str) -> None:
    with pytest.raises(SettingsError, match=match):
        read(both)


def test_a_setting_of_the_author_may_have_the_deprecated_name_of_a_childs() -> None:
    assert read({"fast": "the author's", "squeeze": 1}).models == {}


def test_headers_come_from_either_place_in_any_case() -> None:
    headers = {"Authorization": "Bearer 1"}
    settings = read({"models": {"a": {"headers": headers}}}, MODELS__B__HEADERS='{"X-Key": "2"}')
    assert settings.child("a").headers["authorization"].get_secret_value() == "Bearer 1"
    assert settings.child("b").headers["x-key"].get_secret_value() == "2"


@pytest.mark.parametrize(
    "models",
    [
        {"a": {"headers": {"authorization": {"s3cret": 1}}}},
        {"a": {"headers": "s3cret"}},
        {"a": {"authorization": "s3cret"}},
        {"a": {"url": "http://me:s3cret@host"}},
        {"a": {"proxy": {"url": "http://s3cret@host"}}},
        '{"a": {"headers": {"x": "s3cret"}}',
        {"a": '{"headers": {"x": "s3cret"}'},
    ],
)
def test_a_wrong_setting_prints_no_secret(models: Any) -> None:
    with pytest.raises(SettingsError) as caught:
        read({"models": models})
    chain = [caught.value, caught.value.__cause__]
    assert not any("s3cret" in f"{error} {error!r}" for error in chain)


def test_settings_that_are_printed_show_no_secret() -> None:
    settings = read({"models": {"a": {"headers": {"x": "s3cret"}, "proxy": "http://s3cret@p"}}})
    assert "s3cret" not in f"{settings} {settings!r} {settings.model_dump()}"


@pytest.mark.parametrize(
    ("stated", "declared", "expected"),
    [
        (None, None, None),
        (None, Batching(max_rows=5), Batching(max_rows=5)),
        (True, None, Batching()),
        ("true", Batching(max_rows=5), Batching(max_rows=5)),
        ("1", None, Batching()),
        (False, Batching(), None),
        ("false", Batching(), None),
        ({"max_rows": "8"}, None, Batching(max_rows=8)),
        ('{"max_delay": "0.1"}', Batching(max_rows=5), Batching(max_rows=5, max_delay=0.1)),
        ({"max_rows": 1, "max_delay": 1}, Batching(), None),
    ],
)
def test_batching_is_as_the_model_declares_unless_a_setting_says_otherwise(
    stated: Any, declared: Batching | None, expected: Batching | None
) -> None:
    settings = read({"models": {"a": {"batching": stated}}}).child("a")
    assert settings.batching_of(declared) == expected


@pytest.mark.parametrize(
    ("stated", "declared", "expected"),
    [
        (None, None, None),
        (None, "predict_proba", "predict_proba"),
        ("transform", "predict_proba", "transform"),
        ("transform", None, "transform"),
        ("", "predict_proba", None),
    ],
)
def test_the_output_is_the_one_that_the_model_declares_unless_a_setting_says_otherwise(
    stated: str | None, declared: str | None, expected: str | None
) -> None:
    settings = read({"models": {"a": {"output": stated}}}).child("a")
    assert settings.output_of(declared) == expected


def test_each_field_of_batching_may_be_a_variable() -> None:
    extra = {"models": {"a": {"batching": {"max_rows": 8}}}}
    settings = read(extra, MODELS__A__BATCHING__MAX_DELAY="0.5").child("a")
    assert settings.batching_of(None) == Batching(max_rows=8, max_delay=0.5)


@pytest.mark.parametrize(
    ("stated", "message"),
    [
        ("maybe", r"models.a.batching: .*got 'maybe'"),
        ({"max_rows": 0}, r"models.a.batching.max_rows: .*got 0"),
        ({"rows": 1}, r"models.a.batching.rows: "),
        ({"max_delay": -1}, r"models.a.batching.max_delay: .*got -1"),
    ],
)
def test_invalid_batching_is_refused_by_the_name_of_the_setting(stated: Any, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        read({"models": {"a": {"batching": stated}}})


def test_an_invalid_batching_of_an_author_is_refused_by_the_name_of_its_field() -> None:
    with pytest.raises(SettingsError, match=r"Batching: max_rows: .*greater than or equal to 1"):
        Batching(max_rows=0)


# -- request logs ----------------------------------------------------------------------------------

SINK = "http://logs:8080"


@pytest.mark.parametrize(
    ("stated", "declared", "expected"),
    [
        (None, None, None),
        (None, InsightsOptions(), None),
        (None, InsightsOptions(sink=SINK), {"sink": SINK}),
        ("false", InsightsOptions(sink=SINK), None),
        (False, InsightsOptions(sink=SINK), None),
        ("true", InsightsOptions(sink=SINK), {"sink": SINK}),
        ({"sink": SINK}, None, {"sink": SINK}),
        (
            json.dumps({"sample_rate": "0.5", "redact": "ssn, name"}),
            InsightsOptions(sink=SINK, redact=("iban",), audit=False),
            {"sink": SINK, "sample_rate": 0.5, "redact": ("ssn", "name")},
        ),
    ],
)
def test_request_logs_are_as_declared_unless_a_setting_says_otherwise(
    stated: Any, declared: InsightsOptions | None, expected: dict[str, Any] | None
) -> None:
    found = read({"insights": stated} if stated is not None else {}).insights_of(declared)
    if expected is None:
        assert found is None
    else:
        assert found is not None
        assert {name: getattr(found, name) for name in expected} == expected


def test_each_option_of_request_logs_may_be_a_variable() -> None:
    environ = {
        "INSIGHTS__SINK": SINK,
        "INSIGHTS__LOG": "response",
        "INSIGHTS__HEADERS": '{"X-Key": "s3cret"}',
        "INSIGHTS__TOKEN": "s3cret",
    }
    found = read({"insights": {"sample_rate": 0.1}}, **environ).insights_of(None)
    assert found is not None
    assert (found.sample_rate, found.log) == (0.1, ("response",))
    assert found.headers["x-key"].get_secret_value() == "s3cret"
    assert "s3cret" not in repr(found)


@pytest.mark.parametrize("name", ["token", "headers"])
@pytest.mark.parametrize("as_text", [False, True])
def test_credentials_of_a_sink_are_refused_in_an_artifact(name: str, as_text: bool) -> None:
    insights: Any = {"sink": SINK, name: "s3cret"}
    with pytest.raises(SettingsError, match=f"TEMPO_RUNTIME_INSIGHTS__{name.upper()}") as refused:
        read({"insights": json.dumps(insights) if as_text else insights})
    assert "s3cret" not in str(refused.value)


@pytest.mark.parametrize(
    ("insights", "match"),
    [
        ({"sink": "logs:8080"}, "insights.sink: .*http://HOST"),
        ({"sink": "http://me:secret@logs"}, "insights.sink: .*must not contain a password"),
        (
            {"sink": "http://logs/v1?a=1&dd-api-key=me:secret"},
            "insights.sink: .*must not contain a key or a token; set TEMPO_RUNTIME_INSIGHTS__HEADERS",
        ),
        ({"sample_rate": 1.5}, "insights.sample_rate: .*less than or equal to 1"),
        ({"log": "answers"}, "insights.log: .*'request', 'response' or 'children'"),
        ({"audit": True, "sample_rate": 0.5}, "insights: .*an audit logs every request"),
        ({"audit": True, "log": "response"}, "insights: .*an audit logs requests and responses"),
        ({"sample_header": "a", "sample_argument": "b"}, "insights: .*set only one of"),
        ({"sinc": SINK}, "insights.sinc: Extra"),
        ("maybe", "insights: "),
    ],
)
def test_invalid_options_of_request_logs_are_refused(insights: Any, match: str) -> None:
    with pytest.raises(SettingsError, match=match) as refused:
        read({"insights": insights})
    assert "me:secret" not in str(refused.value)


@pytest.mark.parametrize(
    "declare",
    [
        lambda: InsightsOptions(sink="http://user:hunter2@h"),
        lambda: InsightsOptions(sink="http://h?dd-api-key=hunter2"),
        lambda: InsightsOptions(sink="http://h").replace(sink="http://user:hunter2@h"),
        lambda: StateOptions(url="redis://:hunter2@h"),
        lambda: StateOptions(url="redis://h?password=hunter2"),
        lambda: StateOptions(password="hunter2"),
    ],
)
def test_a_password_that_an_author_declares_is_refused_without_being_shown(
    declare: Callable[[], Any],
) -> None:
    with pytest.raises(SettingsError) as refused:
        declare()
    error = refused.value
    # A traceback also has the lines of this file.
    shown = [line for line in traceback.format_exception(error) if "lambda" not in line]
    assert "hunter2" not in "".join([str(error), repr(error), str(error.__cause__), *shown])


def test_a_token_that_cannot_be_sent_is_refused_without_being_shown() -> None:
    with pytest.raises(SettingsError, match=r"insights.token: .*not printable ASCII") as refused:
        read({}, INSIGHTS__TOKEN="s3cret\n")
    assert "s3cret" not in str(refused.value)


def test_options_that_contradict_each_other_in_two_places_are_refused() -> None:
    with pytest.raises(SettingsError, match="an audit logs every request"):
        read({"insights": {"audit": True}}).insights_of(InsightsOptions(sink=SINK, sample_rate=0.5))


def test_invalid_options_of_an_author_are_refused_by_the_name_of_the_field() -> None:
    with pytest.raises(SettingsError, match=r"InsightsOptions: sample_rate: .*equal to 1"):
        InsightsOptions(sample_rate=2)


@pytest.mark.parametrize(("stated", "expected"), [("json", "json"), ("off", "off"), (False, "off")])
def test_the_access_log_is_text_json_or_off(stated: Any, expected: str) -> None:
    assert read({"access_log": stated}).access_log == expected
    with pytest.raises(SettingsError, match=r"access_log: .*'off', 'text' or 'json'"):
        read({"access_log": "yes"})


@pytest.mark.parametrize("names", ["accept-language, X-*", ["accept-language", "x-*"]])
def test_headers_for_the_authors_code_may_be_patterns(names: Any) -> None:
    assert read({"request_headers": names}).request_headers == ("accept-language", "x-*")
    with pytest.raises(SettingsError, match=r"request_headers: .*header 'a\*b' cannot be sent"):
        read({"request_headers": "a*b*"})


def test_a_server_has_no_page_without_settings() -> None:
    assert ServerSettings.read({"TEMPO_RUNTIME_TIMEOUT": "1"}) == ServerSettings()
    assert (ServerSettings().page, ServerSettings().page_hosts) == (False, ())


def test_names_of_a_server_are_separated_by_commas() -> None:
    environ = {"TEMPO_RUNTIME_PAGE": "1", "TEMPO_RUNTIME_PAGE_HOSTS": "Models.example.com, box,"}
    settings = ServerSettings.read(environ)
    assert (settings.page, settings.page_hosts) == (True, ("models.example.com", "box"))
    assert ServerSettings.read(settings.variables()) == settings


@pytest.mark.parametrize(
    ("name", "value", "match"),
    [
        ("PAGE", "maybe", "TEMPO_RUNTIME_PAGE: .*boolean"),
        ("PAGE_HOSTS", "http://box", "TEMPO_RUNTIME_PAGE_HOSTS: .*'http://box' is not the name"),
        ("PAGE_HOSTS", "box:8080", "without a scheme and a port"),
    ],
)
def test_a_wrong_setting_of_a_server_is_refused_by_its_variable(
    name: str, value: str, match: str
) -> None:
    with pytest.raises(SettingsError, match=match):
        ServerSettings.read({f"TEMPO_RUNTIME_{name}": value})


# -- secrets in errors -----------------------------------------------------------------------------


def models_of_the_package() -> list[type[BaseModel]]:
    for module in pkgutil.walk_packages(tempo_runtime.__path__, "tempo_runtime."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    found, left = set[type[BaseModel]](), [BaseModel]
    while left:
        left += left.pop().__subclasses__()
        found.update(kind for kind in left if kind.__module__.startswith("tempo_runtime."))
    return sorted(found, key=lambda kind: kind.__qualname__)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_no_pydantic_model_of_the_package_shows_its_input_in_errors() -> None:
    kinds = models_of_the_package()
    assert len(kinds) > 20
    showing = [kind for kind in kinds if not kind.model_config.get("hide_input_in_errors")]
    assert showing == []


@pytest.mark.parametrize(
    ("kind", "values", "named"),
    [
        (LocalOptions, {"env": {"PASSWORD": ["s3cret"]}}, "env.PASSWORD"),
        (DockerOptions, {"env": ["s3cret"]}, "env"),
        (LocalOptions, {"passwort": "s3cret"}, "passwort"),
        (SeldonCoreOptions, {"remote_options": {"env": {"TOKEN": {"x": "s3cret"}}}}, "env.TOKEN"),
        (Logger, {"url": "http://user:s3cret@ sink"}, "url"),
        (InsightsOptions, {"headers": ["s3cret"]}, "headers"),
    ],
)
def test_a_wrong_option_is_named_and_a_secret_in_it_is_in_no_traceback(
    kind: type[CheckedOptions], values: dict[str, Any], named: str
) -> None:
    with pytest.raises(SettingsError) as error:
        kind(**values)
    assert named in str(error.value)
    assert "s3cret" not in "".join(traceback.format_exception(error.value))
