#!/bin/sh
# install.sh PREFIX REQUIREMENT...: installs into the image's environment with uv, of which it keeps
# nothing; then without tests, compiled, and with times that do not tell when it was.
set -eu
prefix=$1
shift
# The certificates of the machine that builds, where it has its own.
if [ -f /run/secrets/ca ]; then export SSL_CERT_FILE=/run/secrets/ca; fi

if [ $# -gt 0 ]; then
    /tools/bin/uv pip install --no-cache --quiet --python /opt/venv/bin/python --prefix "$prefix" \
        --no-deps --link-mode copy "$@"
fi
mkdir -p "$prefix"
# What uv notes for itself has the time in it.
rm -f "$prefix/.lock"
find "$prefix" -name uv_cache.json -delete
find "$prefix" -path '*.dist-info/RECORD' -exec sed -i '/uv_cache.json/d' {} +
# Tests of the packages that have 1 MB of them or more. Others stay: alibi imports its own.
for package in scipy pandas numpy sklearn networkx spacy matplotlib skimage pyarrow; do
    find "$prefix" -path "*/site-packages/$package/*" -type d -name tests -prune -exec rm -rf {} +
done
# Symbols for debuggers, a fifth of all libraries. Those in *.libs have been patched: they stay as they are.
find "$prefix" -name '*.libs' -prune -o -type f \( -name '*.so' -o -name '*.so.*' \) -exec strip --strip-debug {} +
# Without the time of the source in it, bytecode is the same whenever it was made.
PYTHONHASHSEED=0 /opt/venv/bin/python -m compileall -q -j 0 --invalidation-mode unchecked-hash \
    "$prefix" >/dev/null || true
find "$prefix" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
