#!/bin/sh
# venv.sh FOLDER REQUIREMENT: a virtual environment with the package, editable, installed in it.
set -eu
venv=$1
requirement=$2

supported() {
    "$1" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null
}

if [ ! -x "$venv/bin/python" ]; then
    for python in ${PYTHON:-python3 python3.12 python3.11 python3.10}; do
        if supported "$python"; then found=$python; break; fi
    done
    if [ -z "${found:-}" ]; then
        echo "No Python 3.10, 3.11 or 3.12 here (MLServer has no other). Install one, or name it:" >&2
        echo "    make demo PYTHON=/path/to/python3.12" >&2
        exit 1
    fi
    echo "Making $venv with $("$found" --version)"
    if ! "$found" -m venv "$venv"; then
        rm -rf "$venv"
        echo "$found cannot make virtual environments. On Debian and Ubuntu:" >&2
        echo "    sudo apt-get install python3-venv" >&2
        exit 1
    fi
fi

# uv installs in seconds what takes pip a minute; where it cannot be had, pip does it.
if "$venv/bin/python" -m pip install --quiet --disable-pip-version-check uv; then
    "$venv/bin/uv" pip install --python "$venv/bin/python" --editable "$requirement"
else
    "$venv/bin/python" -m pip install --disable-pip-version-check --editable "$requirement"
fi
