#!/bin/sh
# test.sh [PYTEST ARGUMENTS]: a kind cluster with Istio, Seldon Core v1 and MinIO, our image in it, and
# tests/cluster against it. IMAGE is another image than this version's. KEEP=1 leaves the cluster up. Needs
# docker, kind, kubectl and helm.
set -eu
cd "$(dirname "$0")/../.."

name=tempo-runtime
version=$(sed -n 's/^__version__ = "\(.*\)"/\1/p' tempo_runtime/__init__.py)
image=${IMAGE:-tempo-runtime-server:$version}
case ${image##*/} in *:*) ;; *) image=$image:latest ;; esac # as docker reads it; Seldon wants both parts
python=${PYTHON:-.venv/bin/python}

for tool in docker kind kubectl helm; do
    command -v "$tool" >/dev/null || { echo "There is no $tool here; install it." >&2; exit 1; }
done
docker image inspect "$image" >/dev/null || { echo "No image $image; run: make image" >&2; exit 1; }
if kind get clusters | grep -qx "$name"; then # not ours to end
    echo "There is a cluster $name already. Its end: kind delete cluster --name $name" >&2
    exit 1
fi

folder=$(mktemp -d)
export KUBECONFIG="$folder/config" # the user's own stays as it is
forwards=
end() {
    for forward in $forwards; do kill "$forward" 2>/dev/null || true; done
    if [ -n "${KEEP:-}" ]; then
        echo "The cluster stays. Its config: kind get kubeconfig --name $name. Its end: kind delete cluster --name $name"
    else
        kind delete cluster --name "$name"
    fi
    rm -rf "$folder"
}
trap end EXIT
trap 'exit 130' INT TERM

kind create cluster --name "$name" --wait 5m
kind load docker-image "$image" --name "$name"
if docker image inspect "$image-explain" >/dev/null 2>&1; then
    kind load docker-image "$image-explain" --name "$name"
    export TEMPO_CLUSTER_EXPLAIN_IMAGE="$image-explain"
else
    echo "No image $image-explain (make image IMAGE_EXTRAS=explain): the notebook's cells are skipped" >&2
fi

install() { # RELEASE CHART REPOSITORY NAMESPACE [MORE]
    release=$1 chart=$2 repository=$3 namespace=$4
    shift 4
    helm upgrade --install "$release" "$chart" --repo "$repository" \
        --namespace "$namespace" --create-namespace --wait --timeout 10m "$@"
}
istio=https://istio-release.storage.googleapis.com/charts
install istio-base base "$istio" istio-system --version 1.22.3
install istiod istiod "$istio" istio-system --version 1.22.3
install istio-ingressgateway gateway "$istio" istio-system --version 1.22.3 --set service.type=ClusterIP
kubectl apply -f k8s/kind/gateway.yaml
served() { # PROTOCOL: our image, in the words of the chart
    server=predictor_servers.TEMPO_SERVER.protocols.$1
    echo "$server.image=${image%:*},$server.defaultImageVersion=${image##*:}"
}
install seldon-core seldon-core-operator https://storage.googleapis.com/seldon-charts seldon-system \
    --version 1.18.2 --set istio.enabled=true --values k8s/seldon-config/values.yaml \
    --set-string "$(served v2),$(served kfserving)"

kubectl apply -f k8s/storage
kubectl rollout status deployment/minio -n minio-system --timeout 5m
kubectl create namespace production
sed 's/REPLACE-ME/minioadmin/' k8s/rbac/secret.yaml | kubectl apply -n production -f -

forward() { # NAMESPACE SERVICE LOCAL:REMOTE
    kubectl port-forward -n "$1" "service/$2" "$3" >/dev/null &
    forwards="$forwards $!"
}
forward istio-system istio-ingressgateway 8004:80
forward minio-system minio 9004:9000

# What tests/cluster reads.
export TEMPO_CLUSTER_INGRESS=http://localhost:8004
export TEMPO_CLUSTER_NAMESPACE=production
export TEMPO_CLUSTER_SECRET=minio-secret
export TEMPO_CLUSTER_IMAGE="$image"
export MINIO_ENDPOINT=http://localhost:9004
"$python" -m pytest -q tests/cluster "$@"
