#!/usr/bin/env bash
# Builds the server image twice from nothing, and says whether the layers are the same. Takes minutes;
# BASE and EXTRAS as for build.sh.
set -euo pipefail
shopt -s inherit_errexit
cd "$(dirname "$0")/../.."

api() {
    local path=$1 && shift
    curl -fsS --unix-socket "${DOCKER_HOST#unix://}" "$@" "http://localhost/images/$path"
}
layers() {
    local image=tempo-runtime-server:reproducible-$1
    IMAGE=$image images/server/build.sh --no-cache >&2
    api "$image/json" | python3 -c 'import json, sys; print(*json.load(sys.stdin)["RootFS"]["Layers"], sep="\n")'
    api "$image" -X DELETE >/dev/null
}

eval "$(scripts/engine.sh)"
first=$(layers 1)
second=$(layers 2)
echo "$first"
if [ "$first" != "$second" ]; then
    echo "The second build differs:" && diff <(echo "$first") <(echo "$second")
fi
echo "Both builds have the same layers"
