"""Make a virtual environment work in another folder, and on another machine.

Its scripts name the folder they were made in, and its `bin/python` is a link to an interpreter
somewhere else. Packed, the scripts look for the Python beside them. `bin/conda-unpack`, which MLServer's
image calls after it has unpacked and activated an environment, links `bin/python` to an interpreter that
is there.
"""

from __future__ import annotations

import re

# Read by sh: finds the Python beside the script. Read by Python: a string that is not used.
_SHEBANG = b"""#!/bin/sh
'''exec' "$(dirname -- "$(realpath -- "$0")")"/python "$0" "$@"
' '''
"""

_ACTIVATE = """\
# Use: source bin/activate
if [ -n "${BASH_SOURCE:-}" ]; then _here=${BASH_SOURCE[0]}; else _here=$0; fi
VIRTUAL_ENV=$(cd "$(dirname "$_here")/.." && pwd -P)
unset _here PYTHONHOME
PATH=$VIRTUAL_ENV/bin:$PATH
export VIRTUAL_ENV PATH
hash -r 2>/dev/null || true
"""

_CONDA_UNPACK = """\
#!/bin/sh
# Links this environment to a Python @MINOR@ of this machine, if the one it was made with is not here.
set -eu
bin=$(cd "$(dirname -- "$0")" && pwd -P)

fits() {
    [ -x "$1" ] && "$1" -c 'import sys; sys.exit("%d.%d" % sys.version_info[:2] != "@MINOR@")' 2>/dev/null
}

fits "$bin/python" && exit 0
others=$(printf %s "$PATH" | tr ':' '\\n' | grep -vFx "$bin" | tr '\\n' ':')
for folder in $(printf %s "$others/usr/local/bin:/usr/bin:/opt/conda/bin" | tr ':' ' '); do
    for name in python@MINOR@ python3 python; do
        if fits "$folder/$name"; then
            python=$("$folder/$name" -c 'import os, sys; print(os.path.realpath(sys.executable))')
            ln -sf "$python" "$bin/python"
            sed -i.old "s|^home *=.*|home = $(dirname "$python")|" "$bin/../pyvenv.cfg"
            rm "$bin/../pyvenv.cfg.old"
            exit 0
        fi
    done
done
echo "This environment needs Python @MINOR@, which is not on PATH; install it" >&2
exit 1
"""


def scripts(minor: str) -> dict[str, bytes]:
    """Files of `bin/` that a packed virtual environment has in place of its own.

    Args:
        minor: Version of its Python, such as `3.11`.
    """
    return {
        "bin/activate": _ACTIVATE.encode(),
        "bin/conda-unpack": _CONDA_UNPACK.replace("@MINOR@", minor).encode(),
    }


def relocated(script: bytes, prefix: str) -> bytes:
    """Return a script of `bin/`, its first line without the folder it was made in."""
    first = re.escape(prefix.encode())
    match = re.match(
        rb"#!" + first + rb"/bin/python[0-9.]*[^\n]*\n"
        # Where the path is too long for a first line, installers write this.
        rb"|#!/bin/sh\n'''exec' [^\n]*" + first + rb"/bin/python[^\n]*\n' '''\n",
        script,
    )
    return _SHEBANG + script[match.end() :] if match else script
