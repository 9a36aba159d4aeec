"""The registry of a user's file or module is found, read anew each time, and whatever is wrong with it is one line."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from recsvc.errors import ConfigError, DefinitionError
from recsvc.registry.compat import compare
from recsvc.registry.loader import load

RIGHT = """
    from recsvc import *
    user = Entity("user", "user_id", INT64)
    registry = Registry(views=[FeatureView("profile", [user], [Feature("age", INT64)])])
"""
Write = Callable[[str, str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Return what writes a file of Python."""

    def written(name: str, text: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text), encoding="utf-8")
        return path

    return written


@pytest.fixture(autouse=True)
def unchanged(tmp_path: Path) -> Iterator[None]:
    """Loading leaves the interpreter's path as it was, and no module of the folder behind."""
    told, sys.dont_write_bytecode = sys.dont_write_bytecode, False  # whatever the run of the tests was told
    path, before = list(sys.path), set(sys.modules)
    yield
    assert (sys.path, sys.dont_write_bytecode) == (path, False)
    sys.dont_write_bytecode = told
    left = {n for n in set(sys.modules) - before if not n.startswith("recsvc_definitions_")}
    files = [str(getattr(sys.modules[n], "__file__", "")) for n in left]
    assert not [f for f in files if f.startswith(str(tmp_path)) and "site-packages" not in f]


@pytest.fixture
def importable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder, from which modules can be imported by name."""
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    for name in [n for n, m in sys.modules.items() if str(getattr(m, "__file__", "")).startswith(str(tmp_path))]:
        del sys.modules[name]


def refusal(spec: object) -> str:
    """Return the one line with which a load is refused."""
    with pytest.raises(ConfigError) as caught:
        load(str(spec))
    line = str(caught.value)
    assert "\n" not in line
    assert line.startswith("definitions: ")
    return line


def views(spec: object) -> list[str]:
    """Return the labels of what was loaded."""
    return sorted(v.label for v in load(str(spec)).views.values())


def test_a_file_is_loaded(write: Write) -> None:
    """The one Registry in a file is found whatever its name is, also where two names have it."""
    path = write("defs.py", RIGHT + "    another_name = registry\n")
    assert views(path) == ["profile@v1"]
    assert views(f"{path}:registry") == ["profile@v1"]


def test_a_relative_path_is_a_file(write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``defs.py`` and ``./defs.py`` are files of the current folder."""
    write("defs.py", RIGHT)
    monkeypatch.chdir(tmp_path)
    for spec in ("defs.py", "./defs.py", "defs.py:registry"):
        assert views(spec) == ["profile@v1"]


@pytest.mark.usefixtures("importable")
def test_a_module_is_loaded(write: Write) -> None:
    """A dotted name is a module, with or without the name of the Registry."""
    write("shop/__init__.py", "")
    write("shop/defs.py", RIGHT)
    assert views("shop.defs") == ["profile@v1"]
    assert views("shop.defs:registry") == ["profile@v1"]


TWO = RIGHT + "    other = Registry(views=[FeatureView('film', [user], [Feature('year', INT64)])])\n"


def test_one_of_several_registries_is_named(write: Write) -> None:
    """With ``:name`` that one is taken; without, the line lists them and shows how to name one."""
    path = write("defs.py", TWO)
    assert views(f"{path}:other") == ["film@v1"]
    line = refusal(path)
    assert "has several registries (other, registry)" in line
    assert line.endswith(f"name one: {path}:other")


@pytest.mark.parametrize("name", ["nothing", "user", "INT64"])
def test_a_name_that_is_no_registry_is_told(write: Write, name: str) -> None:
    """Neither an unknown name nor that of something else is taken."""
    assert f"has no Registry named {name!r}" in refusal(f"{write('defs.py', RIGHT)}:{name}")


def test_a_file_without_a_registry_is_told_how(write: Write) -> None:
    """The line says what to write."""
    line = refusal(write("defs.py", "x = 1\n"))
    assert "has no Registry; write `registry = Registry(views=[...])` in it" in line


@pytest.mark.parametrize("spec", ["no/such/file.py", "no_such_file.py", "."])
def test_a_file_that_there_is_not(spec: str, tmp_path: Path) -> None:
    """A path that is no file is told as such."""
    assert "is not a file" in refusal(tmp_path / spec)


def test_a_module_that_there_is_not() -> None:
    """A module that is not there, or whose package is not, is told as the user wrote it."""
    assert "no_such_module.definitions is neither a Python file nor a module" in refusal("no_such_module.definitions")


def test_a_file_of_another_kind_is_told(write: Write) -> None:
    """A file whose name does not end in .py is no Python file."""
    assert "its name must end in .py" in refusal(write("defs.txt", RIGHT))


FAILING = {
    "raise ValueError('broken')": "ValueError: broken",
    "1 / 0": "ZeroDivisionError: division by zero",
    "import sys; sys.exit(3)": "SystemExit: 3",
    "raise KeyError('two\\nlines')": r"KeyError: 'two\nlines'",
    "raise RuntimeError('two\\nlines')": "RuntimeError: two lines",
    "import no_such_library": "ModuleNotFoundError: No module named 'no_such_library'",
    "Entity('user')": "TypeError",
    "import numpy as np; np.zeros(-1)": "ValueError: negative dimensions are not allowed",
    "from recsvc import Registry; Registry(views=5)": "TypeError",
    "import json; json.loads('{')": "JSONDecodeError",
}


@pytest.mark.parametrize("code", FAILING)
def test_code_that_fails_is_one_line_with_its_place(write: Write, code: str) -> None:
    """Whatever comes out of the user's code, the line names the file and the line in it, not one of a library."""
    path = write("defs.py", f"from recsvc import Entity\n\n{code}\n")
    line = refusal(path)
    assert f"failed at {path}:3: " in line
    assert FAILING[code] in line


def test_a_syntax_error_is_one_line_with_its_place(write: Write) -> None:
    """The file and the line that cannot be read are named."""
    path = write("defs.py", "x = 1\ny = = 2\n")
    assert f"failed at {path}:2: SyntaxError: invalid syntax" in refusal(path)


def test_a_file_that_is_not_utf8_is_one_line(tmp_path: Path) -> None:
    """Bytes that are no text are told."""
    (tmp_path / "defs.py").write_bytes(b"x = '\xff'\n")
    assert "SyntaxError" in refusal(tmp_path / "defs.py")


def test_a_failure_in_a_neighbour_names_the_neighbour(write: Write) -> None:
    """The place is where it went wrong, not where it was imported."""
    write("shared.py", "\n\nraise ValueError('broken')\n")
    path = write("defs.py", "import shared\n")
    assert f"failed at {path.with_name('shared.py')}:3: ValueError" in refusal(path)


def test_wrong_definitions_are_all_told(write: Write) -> None:
    """A registry that is refused says what is wrong, not that the file failed."""
    path = write("defs.py", RIGHT.replace('"age"', '"Age"').replace('"profile"', '"Profile"'))
    with pytest.raises(DefinitionError) as caught:
        load(str(path))
    assert len(caught.value.problems) == 2


def test_an_edit_is_seen_at_the_next_load(write: Write) -> None:
    """A file is read anew, also within the same second and with as many bytes as before."""
    path = write("defs.py", RIGHT.replace("INT64)])", "FLOAT64)])"))
    old = load(str(path))
    write("defs.py", RIGHT.replace("INT64)])", "FLOAT32)])"))
    new = load(str(path))
    assert [str(c) for c in compare(old, new)] == [
        "view 'profile@v1': feature 'age': type FLOAT64 -> FLOAT32; needs a new version"
    ]


def test_neighbours_are_read_anew(write: Write) -> None:
    """Modules and packages beside the file are imported, and edits of them are seen, too."""
    write("shared.py", "NAME = 'one'\n")
    write("lib/__init__.py", "")
    write("lib/types.py", "from recsvc import INT64\nTYPE = INT64\n")
    path = write(
        "defs.py",
        """
        from recsvc import *
        from shared import NAME
        from lib.types import TYPE
        registry = Registry(views=[FeatureView(NAME, [Entity("user", "user_id")], [Feature("a", TYPE)])])
        """,
    )
    assert views(path) == ["one@v1"]
    write("shared.py", "NAME = 'two'\n")
    write("lib/types.py", "from recsvc import BOOL\nTYPE = BOOL \n")
    registry = load(str(path))
    assert [str(v.features[0].type) for v in registry.views.values()] == ["BOOL"]
    assert [v.name for v in registry.views.values()] == ["two"]


def test_loading_leaves_no_compiled_files(write: Write, tmp_path: Path) -> None:
    """A folder of definitions stays as it was."""
    write("shared.py", "")
    assert views(write("defs.py", "import shared\n" + textwrap.dedent(RIGHT)))
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["defs.py", "shared.py"]


def test_libraries_in_an_environment_beside_the_file_stay(
    write: Write, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A virtual environment in the folder is no neighbour: its libraries are imported once."""
    write(".venv/lib/site-packages/some_library.py", "import itertools\nLOADED = []\n")
    monkeypatch.syspath_prepend(str(tmp_path / ".venv" / "lib" / "site-packages"))
    path = write("defs.py", "import some_library\n" + textwrap.dedent(RIGHT))
    load(str(path))
    first = sys.modules["some_library"]
    load(str(path))
    assert sys.modules["some_library"] is first
    del sys.modules["some_library"]


@pytest.mark.usefixtures("importable")
def test_modules_that_were_there_before_stay(write: Write) -> None:
    """What the program itself has imported is not taken from it, whatever folder it is in."""
    write("mine.py", "X = 1\n")
    module = __import__("mine")
    path = write("defs.py", "import mine\n" + textwrap.dedent(RIGHT))
    load(str(path))
    assert sys.modules["mine"] is module


@pytest.mark.usefixtures("importable")
def test_a_module_is_read_anew_with_its_package(write: Write) -> None:
    """A module and its siblings are imported again; names that went from it are gone."""
    write("shop/__init__.py", "")
    write("shop/names.py", "NAME = 'one'\n")
    text = """
        from recsvc import *
        from shop.names import NAME
        {} = Registry(views=[FeatureView(NAME, [Entity("user", "user_id")], [Feature("a", INT64)])])
    """
    write("shop/defs.py", text.format("first"))
    assert views("shop.defs") == ["one@v1"]
    write("shop/names.py", "NAME = 'two'\n")
    write("shop/defs.py", text.format("other"))
    assert views("shop.defs") == ["two@v1"]


@pytest.mark.usefixtures("importable")
def test_a_module_that_is_wrong_leaves_the_old_one_as_it_was(write: Write) -> None:
    """What was loaded before goes on with its own functions and constants."""
    text = """
        import numpy as np
        from recsvc import *
        FACTOR = {}
        if FACTOR == 3:
            raise ValueError("broken")
        def scaled(a):
            return a * FACTOR
        user = Entity("user", "user_id")
        registry = Registry(
            views=[FeatureView("p", [user], [Feature("a", FLOAT64)])],
            on_demand=[OnDemandView("d", [OnDemandFeature("x", FLOAT64, {{"a": "p:a"}}, scaled)])],
        )
    """
    write("shop.py", text.format(2))
    old = load("shop")
    module = sys.modules["shop"]
    write("shop.py", text.format(3))
    assert "ValueError: broken" in refusal("shop")
    assert sys.modules["shop"] is module
    feature = old.on_demand["d", 1].features[0]
    assert feature.function(a=5) == 10
    write("shop.py", text.format(4))
    assert load("shop").on_demand["d", 1].features[0].function(a=5) == 20
    assert feature.function(a=5) == 10


def test_a_change_of_a_function_is_seen_after_a_reload(write: Write) -> None:
    """The old registry remembers what its functions did, though the file has changed under them."""
    text = """
        from recsvc import *
        user = Entity("user", "user_id")
        registry = Registry(
            views=[FeatureView("p", [user], [Feature("a", FLOAT64)])],
            on_demand=[OnDemandView("d", [OnDemandFeature("x", FLOAT64, {{"a": "p:a"}}, lambda a: a * {})])],
        )
    """
    path = write("defs.py", text.format(2))
    old, same = load(str(path)), load(str(path))
    assert old.fingerprint == same.fingerprint
    assert compare(old, same) == []
    write("defs.py", text.format(3))
    new = load(str(path))
    assert new.fingerprint != old.fingerprint
    assert [c.detail for c in compare(old, new)] == ["feature 'x': computed differently under the same version"]


def test_definitions_that_ship_with_recsvc_are_a_module() -> None:
    """A module of recsvc itself can be loaded, twice, without importing recsvc anew."""
    program = (
        "import sys, recsvc; from recsvc.registry.loader import load;"
        "a = load('recsvc.demo.definitions'); b = load('recsvc.demo.definitions');"
        "assert a.fingerprint == b.fingerprint; assert type(a) is type(b) is recsvc.Registry"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
