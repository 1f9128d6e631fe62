#!/usr/bin/env bash
# build.sh [OPTION...]   builds the server image with the engine that answers; `make image` runs it.
#
# BASE    image to start from, python:3.11-slim by default
# EXTRAS  what is in it besides, of explain, xgboost, lightgbm and mlflow: "explain xgboost"
# IMAGE   its name; by default tempo-runtime-server:VERSION, and -EXTRA for each
# SOURCE  where its source is kept, for its label
# Options go to the engine's own build.
set -euo pipefail
cd "$(dirname "$0")/../.."

version=$(sed -n 's/^__version__ = "\(.*\)"/\1/p' tempo_runtime/__init__.py)
extras=${EXTRAS:-} && extras=${extras//,/ }
image=${IMAGE:-tempo-runtime-server:$version${extras:+-${extras// /-}}}
# Any constant will do: with one, the same source gives the same image.
export SOURCE_DATE_EPOCH=315532800

for extra in $extras; do
    if [ ! -f "images/server/locks/$extra.lock" ]; then
        echo "build.sh: there is no extra $extra; images/server/locks has those there are" >&2
        exit 1
    fi
done

arguments=(--file images/server/Dockerfile --tag "$image"
    --build-arg "BASE=${BASE:-python:3.11-slim}" --build-arg "EXTRAS=$extras"
    --build-arg "SOURCE_DATE_EPOCH=$SOURCE_DATE_EPOCH" --build-arg "VERSION=$version"
    --build-arg "REVISION=$(git rev-parse HEAD 2>/dev/null || true)" --build-arg "SOURCE=${SOURCE:-}")
# The certificates that pip needs here are there for the build only.
if [ -n "${PIP_CERT:-}" ]; then arguments+=(--secret "id=ca,src=$PIP_CERT"); fi

ours=unix://${TEMPO_ENGINE:-$PWD/.engine}/podman.sock
if [ -z "${DOCKER_HOST:-}" ] && [ -S "${ours#unix://}" ]; then DOCKER_HOST=$ours; fi
podman=(podman)
# Its client loses the connection to its service now and then (podman 4.3): no service is asked.
if [ "${DOCKER_HOST:-}" = "$ours" ]; then podman=(scripts/engine.sh podman); fi

if [ "${DOCKER_HOST:-}" != "$ours" ] && docker buildx version >/dev/null 2>&1 &&
    docker info >/dev/null 2>&1
then
    docker buildx build --output "type=docker,rewrite-timestamp=true" --provenance=false \
        "${arguments[@]}" "$@" .
elif command -v podman >/dev/null; then
    # Not on a network that containers come to and leave, which interrupts it.
    "${podman[@]}" build --layers --network host --timestamp "$SOURCE_DATE_EPOCH" \
        "${arguments[@]}" "$@" .
else
    echo "build.sh: neither docker with buildx nor podman is here; scripts/engine.sh brings one" >&2
    exit 1
fi
echo "$image"
