#!/bin/sh
# Writes locks/: every package of the images, with its version and hashes, resolved together, so that
# an image and its variants share what they have in common. UV names the uv to use.
set -eu
cd "$(dirname "$0")/../.."
uv=${UV:-.venv/bin/uv}
locks=images/server/locks
extras="explain xgboost lightgbm mlflow"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

compile() {
    "$uv" pip compile --quiet --python-version 3.11 --python-platform linux --no-header \
        --no-annotate --override images/server/left-out.txt "$@"
}
# What the second lock has and the first has not.
added() {
    awk '/==/ { fresh = !(NR != FNR && $1 in known); if (NR == FNR) known[$1] } NR != FNR && fresh' "$@"
}

# shellcheck disable=SC2046
compile setup.cfg --extra sklearn --extra sign $(printf -- '--extra %s ' $extras) --output-file "$work/all.txt"
compile setup.cfg --extra sklearn --extra sign --constraint "$work/all.txt" --generate-hashes \
    --output-file "$work/server.lock"
cp "$work/server.lock" "$locks/server.lock"
for extra in $extras; do
    compile setup.cfg --extra sklearn --extra sign --extra "$extra" --constraint "$work/all.txt" \
        --generate-hashes --output-file "$work/$extra.lock"
    added "$work/server.lock" "$work/$extra.lock" >"$locks/$extra.lock"
done
compile images/server/tools.in --generate-hashes --output-file "$work/tools.lock"
cp "$work/tools.lock" "$locks/tools.lock"
