"""The parts of the author's code that travel: modules, however imported, and data files beside them."""

from __future__ import annotations

import json
import logging
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import tempo_runtime
from tempo_runtime import ArtifactError
from tempo_runtime.artifact import author_code, store
from tests.helpers.source_tree import ANSWER, PLUS, fresh, imported, importing, saved
from tests.helpers.source_tree import source_tree as source_tree  # a fixture

pytestmark = pytest.mark.traced

WORDS = {"own/__init__.py": "", "own/words.txt": "one two\n"}
ONE = "def plus(value):\n    return value + 1\n"
REACHED: dict[str, dict[str, str]] = {
    "named as the standard library's": {
        "statistics.py": "def mean(values):\n    return sum(values) + 1\n",
        "own/main.py": importing("import statistics", "statistics.mean([value])"),
    },
    "import_module": {
        "features.py": ONE,
        "own/main.py": importing(
            "import importlib\nplus = importlib.import_module('features').plus", "plus(value)"
        ),
    },
    "import_module, called late": {
        "features.py": ONE,
        "own/main.py": importing(
            "from importlib import import_module", "import_module('features').plus(value)"
        ),
    },
    "__import__": {
        "features.py": ONE,
        "own/main.py": importing("", "__import__('features').plus(value)"),
    },
    "a plugin of a dict": {
        "features.py": ONE,
        "own/main.py": importing(
            "import importlib\nALL = {'a': 'features:plus'}\n\n"
            "def plugin(key):\n    module, name = ALL[key].split(':')\n"
            "    return getattr(importlib.import_module(module), name)",
            "plugin('a')(value)",
        ),
    },
    "a name made of parts": {
        "plugins/__init__.py": "",
        "plugins/one.py": ONE,
        "own/main.py": importing(
            "import importlib\n\ndef plugin(key):\n"
            "    return importlib.import_module(f'plugins.{key}').plus",
            "plugin('one')(value)",
        ),
    },
    "a name beside it": {
        "own/__init__.py": "",
        "own/one.py": ONE,
        "own/main.py": importing(
            "import importlib\n\ndef plugin(key):\n"
            "    return importlib.import_module('.' + key, __package__).plus",
            "plugin('one')(value)",
        ),
    },
    "all of a package": {
        "own/plugins/__init__.py": """
            import importlib, pkgutil
            ALL = [
                importlib.import_module(f"{__name__}.{found.name}")
                for found in pkgutil.iter_modules(__path__)
            ]
        """,
        "own/plugins/one.py": ONE,
        "own/main.py": importing("from own.plugins import ALL", "ALL[0].plus(value)"),
    },
    "all of another package": {
        "plugins/__init__.py": "",
        "plugins/one.py": ONE,
        "own/main.py": importing(
            "import importlib, pkgutil\nimport plugins\n"
            "ALL = [importlib.import_module('plugins.' + each.name) "
            "for each in pkgutil.iter_modules(plugins.__path__)]",
            "ALL[0].plus(value)",
        ),
    },
    "__getattr__ of a package": {
        "own/__init__.py": """
            def __getattr__(name):
                if name == "plus":
                    from . import one
                    return one.plus
                raise AttributeError(name)
        """,
        "own/one.py": ONE,
        "own/main.py": importing("import own", "own.plus(value)"),
    },
    "circular": {
        "own/__init__.py": "",
        "own/a.py": "from own import b\n\ndef plus(value):\n    return value + b.SIZE\n",
        "own/b.py": "from own import a\nSIZE = 1\n",
        "own/main.py": importing("from own.a import plus", "plus(value)"),
    },
    "for type checkers only": {
        "own/main.py": importing(
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import nowhere.at.all",
            "value + 1",
        ),
    },
    "for another Python": {
        "own/__init__.py": "",
        "own/newer.py": "type X = int\nexcept* this is for no Python\n",
        "own/main.py": importing(
            "import sys\nif sys.version_info >= (3, 99):\n    from own import newer", "value + 1"
        ),
    },
    "get_data": {
        **WORDS,
        "own/main.py": importing(
            "import pkgutil\nN = len(pkgutil.get_data(__package__, 'words.txt').split())",
            "value + N - 1",
        ),
    },
    "__file__": {
        **WORDS,
        "own/main.py": importing(
            "from pathlib import Path\n"
            "N = len((Path(__file__).parent / 'words.txt').read_text().split())",
            "value + N - 1",
        ),
    },
    "__file__ of a module without a package": {
        "words.txt": "one two",
        "unused.txt": "no",
        "features.py": """
            import os
            with open(os.path.join(os.path.dirname(__file__), "words.txt")) as file:
                N = len(file.read().split())
        """,
        "own/main.py": importing("import features", "value + features.N - 1"),
    },
    "a file above": {
        "own/__init__.py": "",
        "words/en.txt": "one two",
        "own/main.py": importing(
            "from pathlib import Path\n"
            "N = len((Path(__file__).parent.parent / 'words' / 'en.txt').read_text().split())",
            "value + N - 1",
        ),
    },
    "a folder beside it, listed": {
        "own/__init__.py": "",
        "own/words/a.txt": "one",
        "own/words/b.txt": "two",
        "own/main.py": importing(
            "from pathlib import Path\nN = len(list((Path(__file__).parent / 'words').iterdir()))",
            "value + N - 1",
        ),
    },
    "resources": {
        **WORDS,
        "own/data/more.txt": "one two",
        "own/main.py": importing(
            "from importlib import resources\n"
            "N = len((resources.files(__package__) / 'words.txt').read_text().split())\n"
            "M = len(resources.files('own').joinpath('data', 'more.txt').read_bytes().split())",
            "value + N + M - 3",
        ).replace("resources.files('own')", "resources.files(__package__)"),
    },
    "resources of a folder without __init__": {
        "space/words.txt": "one two",
        "space/plus.py": ONE,
        "own/main.py": importing(
            "from importlib import resources\nimport space.plus\n"
            "from pathlib import Path\nHERE = Path(__file__).parent.parent / 'space' / 'words.txt'\n"
            "N = len((resources.files(space) / 'words.txt').read_text().split())",
            "value + N - 1",
        ),
    },
    "spec_from_file_location": {
        "own/__init__.py": "",
        "own/rules/one.py": ONE,
        "own/main.py": importing(
            "import importlib.util, os\n"
            "PATH = os.path.join(os.path.dirname(__file__), 'rules', 'one.py')\n"
            "spec = importlib.util.spec_from_file_location('one', PATH)\n"
            "one = importlib.util.module_from_spec(spec)\nspec.loader.exec_module(one)",
            "one.plus(value)",
        ),
    },
}


@pytest.mark.parametrize("case", REACHED)
def test_a_pipeline_loads_without_its_source(
    case: str, tree: Callable[..., Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = tree(REACHED[case])
    folder = saved(imported("own.main").P, root)
    assert tempo_runtime.load(str(folder)).predict(41) == 42
    shutil.rmtree(root)
    assert json.loads(fresh(ANSWER, folder, 1, 41, cwd=tmp_path)) == [2, 42]
    assert not [each.message for each in caplog.records if each.levelno >= logging.WARNING]


def code_in(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder / "code")) for p in folder.rglob("code/**/*.*"))


def test_files_that_nothing_reads_stay_at_home(tree: Callable[..., Path]) -> None:
    root = tree(
        {
            **PLUS,
            "own/unused.py": "",
            "own/words.txt": "nothing reads it",
            "notes.txt": "nor this",
            "own/main.py": importing("from own.plus import plus", "plus(value)"),
        }
    )
    folder = saved(imported("own.main").P, root)
    assert code_in(folder) == ["own/__init__.py", "own/main.py", "own/plus.py"]


def test_folders_outside_of_a_package_stay_at_home(tree: Callable[..., Path]) -> None:
    root = tree(
        {
            **WORDS,
            "own/.git/config": "",
            "own/__pycache__/main.pyc": "",
            "own/venv/pyvenv.cfg": "",
            "own/venv/lib/site.txt": "",
            "own/artifact/tempo.json": "{}",
            "own/artifact/words.txt": "",
            "own/other/__init__.py": "",
            "own/other/words.txt": "",
            "own/main.py": importing("HERE = __file__", "value"),
        }
    )
    folder = saved(imported("own.main").P, root)
    assert code_in(folder) == ["own/__init__.py", "own/main.py", "own/words.txt"]


def test_folders_of_models_beside_a_module_are_not_part_of_its_data(
    tree: Callable[..., Path],
) -> None:
    root = tree(
        {
            "forest/model.txt": "",
            "artifacts/q/more.txt": "",
            "models_of_mine.py": """
                import os
                from tempo_runtime import Model, ModelFramework, PipelineModels, model, pipeline

                HERE = os.path.dirname(__file__)
                folder = os.path.join(HERE, "forest")
                forest = Model("forest", platform=ModelFramework.SKLearn, local_folder=folder)

                @model("f", local_folder=os.path.join(HERE, "artifacts", "f"))
                def f(value: int) -> int:
                    return value

                @pipeline("q", models=PipelineModels(forest=forest),
                          local_folder=os.path.join(HERE, "artifacts", "q"))
                def q(value: int) -> int:
                    return value
            """,
        }
    )
    folder = Path(tempo_runtime.save(imported("models_of_mine").f))
    assert folder == root / "artifacts/f"
    assert code_in(folder) == ["models_of_mine.py"]


def test_save_imports_nothing_that_was_not(tree: Callable[..., Path]) -> None:
    root = tree(
        {
            **PLUS,
            "own/effects.py": "raise SystemExit('imported')",
            "own/deep/__init__.py": "raise SystemExit('imported')",
            "own/deep/down.py": "",
            "own/main.py": importing(
                "def late():\n    from own.deep import down\n    import own.effects", "value + 1"
            ),
        }
    )
    folder = saved(imported("own.main").P, root)
    assert {"own/deep/__init__.py", "own/deep/down.py", "own/effects.py"} < set(code_in(folder))


# -- refused, or warned of -------------------------------------------------------------------------


def warned(caplog: pytest.LogCaptureFixture) -> str:
    return "\n".join(
        each.getMessage() for each in caplog.records if each.levelno >= logging.WARNING
    )


def test_a_module_whose_name_nobody_sees_is_warned_of_with_its_place(
    tree: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    main = importing(
        "import importlib, os\n\ndef plugin():\n    return importlib.import_module(os.environ['X'])",
        "1",
    )
    root = tree({"own/main.py": main})
    saved(imported("own.main").P, root)
    assert f"{root}/own/main.py:4 imports a module whose name is only known at run time" in warned(
        caplog
    )


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("NAME = {there!r}\n\ndef late():\n    return open(NAME)", "there"),
        ("def late():\n    return open('beside.csv')", "here"),
        (
            "NAME = 'beside.csv'\n\ndef late():\n    import pandas as pd\n    pd.read_csv(NAME)",
            "here",
        ),
    ],
)
def test_a_file_that_cannot_travel_is_warned_of_with_its_place(
    tree: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    line: str,
    named: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    there = tmp_path / "beside.csv"
    there.write_text("a,b\n")
    root = tree({"own/main.py": importing(line.format(there=str(there)), "value")})
    saved(imported("own.main").P, root)
    place, path = f"{root}/own/main.py:", str(there) if named == "there" else "beside.csv"
    assert place in warned(caplog)
    assert f"names the file {path}, which does not travel; put it into the artifact" in warned(
        caplog
    )


def test_a_large_file_is_left_and_named(
    tree: Callable[..., Path], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(author_code, "LARGEST", 5)
    root = tree({**WORDS, "own/main.py": importing("HERE = __file__", "value")})
    folder = saved(imported("own.main").P, root)
    assert "own/words.txt" not in code_in(folder)
    assert f"{root}/own/words.txt, beside your module 'own', has 8 bytes" in warned(caplog)


def test_a_key_is_left_and_named(
    tree: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    root = tree({**WORDS, "own/a.pem": "x", "own/main.py": importing("HERE = __file__", "value")})
    folder = saved(imported("own.main").P, root)
    assert "own/a.pem" not in code_in(folder)
    assert "own/a.pem, beside your module 'own', looks like a secret" in warned(caplog)


@pytest.mark.parametrize("kind", ["extension module", "bytecode only"])
def test_a_module_without_source_is_refused_by_name(tree: Callable[..., Path], kind: str) -> None:
    root = tree({"own/__init__.py": "", "own/main.py": importing("import own.fast", "value")})
    if kind == "bytecode only":
        import py_compile

        (root / "fast.py").write_text("")
        py_compile.compile(str(root / "fast.py"), str(root / "own/fast.pyc"))
    else:
        import _json  # any that is a file

        suffix = sysconfig.get_config_var("EXT_SUFFIX")
        shutil.copy(_json.__file__, root / f"own/_json{suffix}")
        (root / "own/fast.py").write_text("from own import _json\n")
    name = "own.fast" if kind == "bytecode only" else "own._json"
    with pytest.raises(ArtifactError, match=f"its module '{name}' is .*{kind}.*build a wheel"):
        saved(imported("own.main").P, root)


# -- unpickling ------------------------------------------------------------------------------------

STEP = """
class Step:
    SIZE = {size}

    def plus(self, value):
        return value + self.SIZE
"""
READS = """
import pickle, joblib, numpy as np
from tempo_runtime import model, predictmethod

@model("p")
class P:
    def __init__(self):
        path = self.get_tempo().details.local_folder
        self.step = {read}

    @predictmethod
    def predict(self, value: int) -> int:
        return self.step.plus(value)
"""
READ = {
    "joblib": "joblib.load(path + '/step.joblib')",
    "compressed": "joblib.load(path + '/small.joblib')",
    "pickle": "pickle.load(open(path + '/step.pkl', 'rb'))",
    "a pickle in the predict method's thread": "pickle.loads(open(path + '/step.pkl', 'rb').read())",
    "old pickle": "pickle.load(open(path + '/old.pkl', 'rb'))",
    "np.load": "np.load(path + '/step.npy', allow_pickle=True)[0]",
    "npz": "np.load(path + '/step.npz', allow_pickle=True)['step'][0]",
    "dill": "__import__('dill').load(open(path + '/step.pkl', 'rb'))",
}


def write_steps(folder: Path, module: str = "features") -> None:
    import pickle

    import joblib
    import numpy as np

    folder.mkdir(exist_ok=True)
    step = imported(module).Step()
    joblib.dump([np.arange(9.0), step, np.array([step]), np.arange(3)], folder / "all.joblib")
    joblib.dump(step, folder / "step.joblib")
    joblib.dump(step, folder / "small.joblib", compress=3)
    (folder / "step.pkl").write_bytes(pickle.dumps(step))
    (folder / "old.pkl").write_bytes(pickle.dumps(step, 0))
    np.save(folder / "step.npy", np.array([step, 1], dtype=object), allow_pickle=True)
    np.savez(folder / "step.npz", step=np.array([step, 1], dtype=object))


@pytest.mark.parametrize("module", ["features", "own.features"])
@pytest.mark.parametrize("case", READ)
def test_an_unpickled_object_finds_the_authors_class(
    case: str, module: str, tree: Callable[..., Path], tmp_path: Path
) -> None:
    path = f"{module.replace('.', '/')}.py"
    root = tree(
        {
            "own/__init__.py": "",
            path: STEP.format(size=1),
            "main_of_mine.py": READS.format(read=READ[case]),
        }
    )
    write_steps(tmp_path / "artifact", module)
    folder = saved(imported("main_of_mine").P, root)
    assert path in code_in(folder)
    shutil.rmtree(root)
    code = "import sys, tempo_runtime; print(tempo_runtime.load(sys.argv[1]).predict(41))"
    assert json.loads(fresh(code, folder, cwd=tmp_path)) == 42


def test_each_artifact_unpickles_its_own_class_of_a_name(
    tree: Callable[..., Path], tmp_path: Path
) -> None:
    read = "{'load': lambda: joblib.load(path + '/step.joblib')}['load']"
    late = READS.format(read=read).replace("self.step.plus", "self.step().plus")
    loaded = []
    for size in (1, 10):
        root = tree({"scaling_of_mine.py": STEP.format(size=size), "main_of_mine.py": late})
        write_steps(tmp_path / f"artifact-{size}", "scaling_of_mine")
        folder = saved(imported("main_of_mine").P, root, f"artifact-{size}")
        loaded.append(tempo_runtime.load(str(folder)))
    for _ in range(2):  # in any order, with the second's module imported here as well
        assert [one.predict(0) for one in loaded] == [1, 10]
    here = imported("scaling_of_mine").Step
    assert [type(one.step()) is here for one in loaded] == [False, False]
    tree({})
    assert [one.predict(0) for one in loaded] == [1, 10]
    for one in loaded:
        one.get_tempo().release()
    assert "scaling_of_mine" not in sys.modules


def test_an_import_beside_an_artifact_is_not_disturbed(
    tree: Callable[..., Path], tmp_path: Path
) -> None:
    root = tree(
        {
            "features.py": STEP.format(size=1),
            "main_of_mine.py": READS.format(read="joblib.load(path + '/step.joblib')"),
        }
    )
    write_steps(tmp_path / "artifact")
    folder = saved(imported("main_of_mine").P, root)
    tree({})
    assert tempo_runtime.load(str(folder)).predict(0) == 1
    tree({})
    (root / "features.py").write_text(STEP.format(size=5))
    assert imported("features").Step.SIZE == 5
    import features  # type: ignore[import-not-found]

    assert features.Step().plus(0) == 5
    assert tempo_runtime.load(str(folder)).predict(0) == 1


def test_a_pickle_that_names_a_module_of_the_standard_librarys_name_is_refused(
    tree: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tree(
        {
            "statistics.py": STEP.format(size=1),
            "main_of_mine.py": READS.format(read="joblib.load(path + '/step.joblib')"),
        }
    )
    monkeypatch.delitem(sys.modules, "statistics", raising=False)
    write_steps(tmp_path / "artifact", "statistics")
    with pytest.raises(
        ArtifactError, match=r"refers to Step in your module 'statistics'.*rename yours"
    ):
        saved(imported("main_of_mine").P, root)


def test_a_pickle_that_names_a_class_of_a_script_is_warned_of(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(
        "import os, pickle, tempo_runtime\n"
        "class Step: pass\n"
        "@tempo_runtime.model('p')\n"
        "def p(value: int) -> int:\n    return value\n"
        "os.mkdir('artifact')\n"
        "open('artifact/step.pkl', 'wb').write(pickle.dumps(Step()))\n"
        "tempo_runtime.save(p, 'artifact')\n"
    )
    command = [sys.executable, "script.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "artifact/step.pkl refers to Step in __main__" in done.stderr


def test_looking_at_a_pickle_runs_nothing_of_it(tmp_path: Path) -> None:
    import os
    import pickle

    class Trap:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(tmp_path / "it-ran"),)

    (tmp_path / "trap.pkl").write_bytes(pickle.dumps([Trap(), {"x": Trap()}]))
    from tempo_runtime.artifact import pickle_imports

    assert pickle_imports.looked_up(str(tmp_path / "trap.pkl")) == {("posix", "mkdir")}
    assert not (tmp_path / "it-ran").exists()


# -- what inspect and save tell --------------------------------------------------------------------


def test_save_and_inspect_tell_what_went_into_the_code(
    tree: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "tempo_runtime.artifact.store")
    root = tree({**WORDS, "own/main.py": importing("HERE = __file__", "value")})
    folder = saved(imported("own.main").P, root)
    size = len((root / "own/main.py").read_bytes())
    assert store.inspect(str(folder)).code == {
        "own/__init__.py": 0,
        "own/main.py": size,
        "own/words.txt": 8,
    }
    told = f"p: your code: 3 files, {size + 8} bytes: own/__init__.py, own/main.py, own/words.txt"
    assert told in caplog.text


# -- modules that are not plain files --------------------------------------------------------------


def test_a_module_of_a_zip_file_of_the_authors_travels(
    tree: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tree({"own/main.py": importing("from zipped.plus import plus", "plus(value)")})
    with zipfile.ZipFile(tmp_path / "mine.zip", "w") as archive:
        archive.writestr("zipped/__init__.py", "")
        archive.writestr("zipped/plus.py", ONE)
    monkeypatch.syspath_prepend(str(tmp_path / "mine.zip"))
    folder = saved(imported("own.main").P, root)
    assert code_in(folder) == ["own/main.py", "zipped/__init__.py", "zipped/plus.py"]
    (tmp_path / "mine.zip").unlink()
    shutil.rmtree(root)
    assert json.loads(fresh(ANSWER, folder, 1, 41, cwd=tmp_path)) == [2, 42]


def test_a_namespace_package_is_joined_with_its_installed_part(
    tree: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = tmp_path / "site-packages/joined/installed"
    installed.mkdir(parents=True)
    (installed / "__init__.py").write_text(ONE)
    monkeypatch.syspath_prepend(str(tmp_path / "site-packages"))
    root = tree(
        {
            "joined/mine.py": "from joined import installed\nplus = installed.plus\n",
            "own/main.py": importing(
                "import joined.installed\nimport joined.mine",
                "joined.mine.plus(joined.installed.plus(value)) - 1",
            ),
        }
    )
    folder = saved(imported("own.main").P, root)
    assert code_in(folder) == ["joined/mine.py", "own/main.py"]
    assert tempo_runtime.load(str(folder)).predict(41) == 42


# -- a child whose model holds a class of the author's ---------------------------------------------

FEATURES = """
import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin

class LogScale(BaseEstimator, TransformerMixin):
    def fit(self, X, y=None):
        return self

    def transform(self, X):
        return np.log1p(X)
"""
PARENT = """
import numpy as np
from tempo_runtime import Model, ModelFramework, PipelineModels, pipeline, predictmethod

forest = Model("forest", platform=ModelFramework.SKLearn, local_folder={folder!r})

@pipeline("parent", models=PipelineModels(forest=forest))
class Parent:
    @predictmethod
    def predict(self, x: np.ndarray) -> np.ndarray:
        return self.models.forest(x)
"""


@pytest.fixture
def parent(tree: Callable[..., Path], tmp_path: Path) -> Path:
    """An artifact whose source tree is gone; its child's model has a step of the author's."""
    import joblib
    import numpy as np
    from sklearn.pipeline import make_pipeline
    from sklearn.tree import DecisionTreeClassifier

    (tmp_path / "forest").mkdir()
    root = tree(
        {
            "scale_of_mine.py": FEATURES,
            "parent_of_mine.py": PARENT.format(folder=str(tmp_path / "forest")),
        }
    )
    steps = make_pipeline(imported("scale_of_mine").LogScale(), DecisionTreeClassifier())
    joblib.dump(steps.fit(np.array([[0.0], [100.0]]), [1, 3]), tmp_path / "forest/model.joblib")
    folder = saved(imported("parent_of_mine").Parent, root)
    shutil.rmtree(root)
    tree({})
    return folder


ASK = """
import sys, numpy as np, tempo_runtime
print(tempo_runtime.load(sys.argv[1]).predict(np.array([[0.0], [100.0]])).tolist())
"""


def test_a_child_in_the_same_process_is_unpickled_with_the_pipelines_code(
    parent: Path, tmp_path: Path
) -> None:
    assert code_in(parent) == ["parent_of_mine.py", "scale_of_mine.py"]
    code = ASK.replace("import sys", "import warnings; warnings.simplefilter('ignore'); import sys")
    assert json.loads(fresh(code, parent, cwd=tmp_path)) == [1, 3]


@pytest.mark.parametrize("workers", [0, 1])
def test_a_child_that_is_served_beside_it_is_unpickled_with_the_pipelines_code(
    parent: Path, tmp_path: Path, workers: int
) -> None:
    from tempo_runtime.servers.model_set import gather
    from tempo_runtime.testing import serve

    for name, model in gather([str(parent)]).items():
        (tmp_path / "models" / name).mkdir(parents=True)
        written = json.dumps(model.settings)
        (tmp_path / "models" / name / "model-settings.json").write_text(written)
    tensor = {"name": "x", "datatype": "FP64", "shape": [2, 1], "data": [0.0, 100.0]}
    with serve(tmp_path / "models", settings={"parallel_workers": workers}) as server:
        answer = server.post("forest", {"inputs": [tensor]})
        assert answer.json()["outputs"][0]["data"] == [1, 3]
