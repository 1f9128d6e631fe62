"""The garbage collector searches everything except modules that are imported in its block."""

from __future__ import annotations

from pathlib import Path

from tests.helpers.forked_server import run

_CODE = """
import gc
from tempo_runtime.servers.uncollected import imports

try:
    with imports():
        import colorsys
        import there_is_no_such_module
except ImportError:
    later = []
searched = [id(each) for each in gc.get_objects()]
print(id(colorsys) in searched, id(later) in searched, gc.isenabled())
gc.disable()
with imports():
    pass
print(gc.isenabled())
"""


def test_only_what_is_imported_in_the_block_is_left_out_also_where_it_fails(
    tmp_path: Path,
) -> None:
    assert run(_CODE, cwd=tmp_path).stdout == "False True True\nFalse\n"
