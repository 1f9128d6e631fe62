#!/bin/sh
# test.sh [PYTEST ARGUMENTS]: a kind cluster with MinIO and the platforms asked for, our image in it, and
# tests/cluster against it. PLATFORMS are the platforms, by default "seldon" (Seldon Core v1, with Istio); also
# "kserve" and "seldon2" (Seldon Core 2, without Kafka). IMAGE replaces
# this version's image. KEEP=1 leaves the cluster up. Needs docker, kind, kubectl and helm.
set -eu
cd "$(dirname "$0")/../.."

name=tempo-runtime
version=$(sed -n 's/^__version__ = "\(.*\)"/\1/p' tempo_runtime/__init__.py)
image=${IMAGE:-tempo-runtime-server:$version}
case ${image##*/} in *:*) ;; *) image=$image:latest ;; esac # as docker reads it; Seldon wants both parts
python=${PYTHON:-.venv/bin/python}
platforms=${PLATFORMS:-seldon}
for platform in $platforms; do
    case $platform in
    seldon | kserve | seldon2) ;;
    *) echo "PLATFORMS names $platform; it takes seldon, kserve and seldon2" >&2; exit 1 ;;
    esac
done

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

# Versions of the platforms, and of what they need.
istio=1.22.3
seldon=1.18.2
cert_manager=v1.17.0 # of kserve-deps.env of KServe
kserve=v0.20.0
seldon2=2.10.2

helm_install() { # RELEASE CHART NAMESPACE VERSION [MORE]
    release=$1 chart=$2 namespace=$3 version=$4
    shift 4
    helm upgrade --install "$release" "$chart" --version "$version" \
        --namespace "$namespace" --create-namespace --wait --timeout 10m "$@"
}

install_seldon() {
    charts=https://istio-release.storage.googleapis.com/charts
    helm_install istio-base base istio-system "$istio" --repo "$charts"
    helm_install istiod istiod istio-system "$istio" --repo "$charts"
    helm_install istio-ingressgateway gateway istio-system "$istio" --repo "$charts" \
        --set service.type=ClusterIP
    kubectl apply -f k8s/kind/gateway.yaml
    helm_install seldon-core seldon-core-operator seldon-system "$seldon" \
        --repo https://storage.googleapis.com/seldon-charts \
        --set istio.enabled=true --values k8s/seldon-config/values.yaml \
        --set-string "$(served v2),$(served kfserving)"
}

served() { # PROTOCOL: our image, in the words of the chart
    server=predictor_servers.TEMPO_SERVER.protocols.$1
    echo "$server.image=${image%:*},$server.defaultImageVersion=${image##*:}"
}

install_kserve() { # without Knative and without an ingress: it is called through the cluster's API
    helm_install cert-manager cert-manager cert-manager "$cert_manager" \
        --repo https://charts.jetstack.io --set crds.enabled=true
    charts=oci://ghcr.io/kserve/charts
    helm_install kserve-crd "$charts/kserve-crd" kserve "$kserve"
    helm_install kserve-resources "$charts/kserve-resources" kserve "$kserve" \
        --set kserve.controller.deploymentMode=Standard \
        --set kserve.controller.gateway.disableIngressCreation=true \
        --set kserve.controller.gateway.disableIstioVirtualHost=true
    helm_install kserve-runtime-configs "$charts/kserve-runtime-configs" kserve "$kserve" \
        --set kserve.servingruntime.enabled=true
}

install_seldon2() { # the tests make a SeldonRuntime in each of their namespaces
    charts=https://seldonio.github.io/helm-charts
    helm_install seldon-core-v2-crds seldon-core-v2-crds seldon-mesh "$seldon2" --repo "$charts"
    helm_install seldon-core-v2-setup seldon-core-v2-setup seldon-mesh "$seldon2" --repo "$charts" \
        --set controller.clusterwide=true --set services.defaultServiceType=ClusterIP
}

for platform in $platforms; do "install_$platform"; done

kubectl apply -f k8s/storage
kubectl rollout status deployment/minio -n minio-system --timeout 5m
kubectl create namespace production
sed 's/REPLACE-ME/minioadmin/' k8s/rbac/secret.yaml | kubectl apply -n production -f -

forward() { # NAMESPACE SERVICE LOCAL:REMOTE
    kubectl port-forward -n "$1" "service/$2" "$3" >/dev/null &
    forwards="$forwards $!"
}
case " $platforms " in
*" seldon "*)
    forward istio-system istio-ingressgateway 8004:80
    export TEMPO_CLUSTER_INGRESS=http://localhost:8004
    ;;
esac
forward minio-system minio 9004:9000

# What else tests/cluster reads.
export TEMPO_CLUSTER_NAMESPACE=production
export TEMPO_CLUSTER_SECRET=minio-secret
export TEMPO_CLUSTER_IMAGE="$image"
export MINIO_ENDPOINT=http://localhost:9004
"$python" -m pytest -q tests/cluster "$@"
