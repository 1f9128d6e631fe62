# The same for a Seldon Core that was not installed by helm. The servers are JSON in one text of the
# ConfigMap, where a patch would have to repeat all of them:
#   kubectl get configmap seldon-config -n seldon-system -o json |
#     jq --arg image tempo-runtime-server --arg version 0.1.0 -f k8s/seldon-config/tempo-server.jq |
#     kubectl apply -f -
{image: $image, defaultImageVersion: $version} as $ours |
.data.predictor_servers |= (
  fromjson | .TEMPO_SERVER.protocols |= (. + {v2: $ours, kfserving: $ours}) | tojson
)
