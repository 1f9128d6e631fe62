"""The requirements that an artifact's folder states."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tempo_runtime.artifact.description import ChildDescription
from tempo_runtime.artifact.environment import requirements
from tempo_runtime.artifact.environment.sources import (
    Needs,
    children_packages,
    names_in_conda_yaml,
    of_folder,
    python,
)
from tempo_runtime.errors import EnvironmentFailed

VERSION = "0.1.0"
NAMES = st.from_regex(r"[a-z][a-z0-9]{0,8}([-_.][a-z0-9]{1,5})?", fullmatch=True)


def needs(folder: Path, wanted: str = "auto", **packages: str) -> Needs | None:
    return of_folder(str(folder), wanted, packages, VERSION)


def test_a_folder_that_describes_nothing_needs_nothing(tmp_path: Path) -> None:
    assert needs(tmp_path) is None


def test_requirements_are_made_a_virtual_environment(tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text("numpy\n")
    found = needs(tmp_path)
    assert found is not None
    assert (found.maker, found.text) == ("venv", "numpy\n")


def test_a_conda_yaml_is_made_by_conda(tmp_path: Path) -> None:
    (tmp_path / "conda.yaml").write_text("dependencies: [python]\n")
    found = needs(tmp_path)
    assert found is not None
    assert found.maker == "conda"


def test_where_both_are_there_one_must_be_chosen(tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text("numpy\n")
    (tmp_path / "conda.yaml").write_text("dependencies: [python]\n")
    with pytest.raises(EnvironmentFailed, match="say which: environment='conda'"):
        needs(tmp_path)
    assert needs(tmp_path, "venv") is not None


def test_without_a_file_it_is_what_the_pipeline_imports_in_these_versions(tmp_path: Path) -> None:
    found = needs(tmp_path, "venv", numpy="1.2.3")
    assert found is not None
    assert found.text == "numpy==1.2.3\n"


def test_the_serving_packages_are_added_where_they_are_not_named(tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text("MLServer[all]>=1.6  # ours\n")
    found = needs(tmp_path)
    assert found is not None
    dill = importlib.metadata.version("dill")
    assert found.added == (f"dill=={dill}", f"tempo-runtime=={VERSION}")


def test_conda_without_a_conda_yaml_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentFailed, match=r"there is no .*conda\.yaml; environment='conda'"):
        needs(tmp_path, "conda")


@pytest.mark.parametrize(
    "spec",
    ["=3.7", "=3.7.9", "==3.7.9", " 3.7.*", "=3.7.10=h12_0_cpython", ">=3.6,<3.8", "<3.8", "=2"],
)
def test_a_conda_yaml_for_another_python_is_refused_before_conda_is_looked_for(
    tmp_path: Path, spec: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    (tmp_path / "conda.yaml").write_text(f"dependencies: ['conda-forge::python{spec}', pip]")
    with pytest.raises(EnvironmentFailed) as refused:
        needs(tmp_path)
    told = str(refused.value)
    assert f"asks for Python {spec.strip(' =')}, but this is Python {python()}" in told
    assert f"write `python={python().rpartition('.')[0]}` there" in told
    assert "environment='venv'" in told
    assert "environment=None" in told


@pytest.mark.parametrize(
    "form", ["", "={0}", "={0}.1", "=={0}.1", " {0}.*", ">=3.7", "={0}.1=h1_0"]
)
def test_a_conda_yaml_that_this_python_meets_is_left_to_conda(tmp_path: Path, form: str) -> None:
    spec = form.format(python().rpartition(".")[0])
    (tmp_path / "conda.yaml").write_text(
        f"dependencies: ['python{spec}', 'python-dateutil=2', pip]"
    )
    assert needs(tmp_path)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (
            "conda.yaml",
            "dependencies: [pip, {pip: ['mlops-tempo @ file:///home/me/tempo', numpy]}]",
        ),
        ("requirements.txt", "numpy\nmlops_tempo==0.5.2\n"),
    ],
)
def test_an_environment_with_tempo_itself_says_which_line_to_remove(
    tmp_path: Path, name: str, text: str
) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(EnvironmentFailed, match=r"lists mlops-tempo, but .* remove that line"):
        needs(tmp_path)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("dependencies: [", "is not YAML"),
        ("just words", "describes no environment"),
        ("dependencies:\n- python\n- pip: 3", "describes no environment"),
        ("name: x", "describes no environment"),
    ],
)
def test_an_invalid_conda_yaml_is_refused_in_one_line(text: str, told: str) -> None:
    with pytest.raises(EnvironmentFailed, match=told) as raised:
        names_in_conda_yaml(text, "conda.yaml")
    assert "\n" not in str(raised.value)


def test_a_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "conda.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(EnvironmentFailed, match=r"conda\.yaml cannot be read"):
        needs(tmp_path)


def test_an_editable_package_is_refused_with_its_line() -> None:
    with pytest.raises(EnvironmentFailed, match=r"r\.txt, line 2: an editable package stays"):
        requirements.names("numpy\n-e ./mine\n", "r.txt")


def test_a_line_that_is_not_a_requirement_is_refused_in_one_line() -> None:
    with pytest.raises(
        EnvironmentFailed, match=r"r\.txt, line 1: 'num py' is not a requirement"
    ) as raised:
        requirements.names("num py\n", "r.txt")
    assert "\n" not in str(raised.value)


def test_options_paths_and_hashes_are_left_to_pip() -> None:
    text = "--index-url https://x\n-r more.txt\n./wheels/a.whl\nnumpy==1 \\\n    --hash=sha256:00\n"
    assert requirements.names(text, "r.txt") == {"numpy"}


@given(st.lists(st.tuples(NAMES, st.sampled_from(["", "==1.2", ">=2,<3", "[extra]", " # why"]))))
def test_every_name_in_a_requirements_file_is_found(lines: list[tuple[str, str]]) -> None:
    found = requirements.names("\n".join(name + rest for name, rest in lines), "r.txt")
    assert found == {name.replace("_", "-").replace(".", "-") for name, _ in lines}


@given(st.lists(st.tuples(NAMES, st.sampled_from(["", "=1.2", "=1.2=py_0", " >=2,<3", ">=2"]))))
def test_every_name_in_a_conda_yaml_is_found(lines: list[tuple[str, str]]) -> None:
    import yaml

    plain = [f"conda-forge::{name}{rest}" for name, rest in lines]
    text = yaml.safe_dump({"dependencies": [*plain, {"pip": ["mlserver==1"]}]})
    expected = {name.replace("_", "-").replace(".", "-") for name, _ in lines} | {"mlserver"}
    assert names_in_conda_yaml(text, "conda.yaml") == expected


def test_the_digest_follows_what_is_asked_for_and_who_asks() -> None:
    one = Needs("venv", "here", "numpy\n", ("mlserver==1",))
    assert one.digest("a") == Needs("venv", "there", "numpy\n", ("mlserver==1",)).digest("a")
    others = [Needs("venv", "here", "numpy<2\n", ("mlserver==1",)).digest("a"), one.digest("b")]
    assert one.digest("a") not in others


def test_runtimes_of_children_that_may_run_in_the_process_are_needed() -> None:
    children = {
        "a": ChildDescription(name="a", platform="sklearn"),
        "b": ChildDescription(name="b", platform="tempo"),
    }
    found = children_packages(children)
    assert found == {"mlserver-sklearn": importlib.metadata.version("mlserver-sklearn")}
