#!/bin/sh
# Serves the model repository at /models, once `alexnet-server check` has found nothing in the way.
#
#   entrypoint.sh [any tritonserver flag]...
#
# MODEL_REPOSITORY             the folder to serve; /models if unset
# TENSORRT_VERSION_COMPATIBLE  true: also load plans that were built to run in other versions of TensorRT. Such a plan
#                              carries code that runs in the server, so only plans from a trusted source.
# ALEXNET_PREFLIGHT            off: start Triton whatever is in the way
set -eu

repository=${MODEL_REPOSITORY:-/models}

refuse() {
    printf 'alexnet-triton: %s\n' "$1" >&2
    exit "${2:-1}"
}

case ${TENSORRT_VERSION_COMPATIBLE:-false} in
    true) set -- --backend-config=tensorrt,version-compatible=true "$@" ;;
    false) ;;
    *) refuse "TENSORRT_VERSION_COMPATIBLE is '$TENSORRT_VERSION_COMPATIBLE', expected true or false" 2 ;;
esac

case ${ALEXNET_PREFLIGHT:-on} in
    on)
        # What it says is for people, so all of it goes where Triton's own messages go.
        python3 -m alexnet_server check --repository "$repository" -- "$@" >&2 || refuse "not started, see above
  next: on the host, docker compose -f docker/compose.yaml run --rm builder, where an engine has to be built;
        ALEXNET_PREFLIGHT=off starts Triton all the same"
        ;;
    off) printf 'alexnet-triton: ALEXNET_PREFLIGHT=off, so nobody looked whether %s can be served\n' "$repository" >&2 ;;
    *) refuse "ALEXNET_PREFLIGHT is '$ALEXNET_PREFLIGHT', expected on or off" 2 ;;
esac

# A config that says too little is a fault to report, not a gap to fill.
exec tritonserver --model-repository="$repository" --disable-auto-complete-config "$@"
