#!/bin/sh
# Serves the model repository at /models, once it has looked whether there is something to serve.
#
#   entrypoint.sh [any tritonserver flag]...
#
# MODEL_REPOSITORY             the folder to serve; /models if unset
# TENSORRT_VERSION_COMPATIBLE  true: also load plans that were built to run in other versions of TensorRT. Such a plan
#                              carries code that runs in the server, so only plans from a trusted source.
set -eu

repository=${MODEL_REPOSITORY:-/models}

refuse() {
    printf 'alexnet-triton: %s\n' "$1" >&2
    exit "${2:-1}"
}

has_engine() {
    for engine in "$repository"/alexnet/[1-9]*/model.plan "$repository"/alexnet/[1-9]*/model.onnx; do
        [ -r "$engine" ] && return
    done
    return 1
}

has_engine || refuse "nothing to serve in $repository
  expected: alexnet/<version>/model.plan or model.onnx, readable by user $(id -u)
  next: docker compose -f docker/compose.yaml run --rm builder"

case ${TENSORRT_VERSION_COMPATIBLE:-false} in
    true) set -- --backend-config=tensorrt,version-compatible=true "$@" ;;
    false) ;;
    *) refuse "TENSORRT_VERSION_COMPATIBLE is '$TENSORRT_VERSION_COMPATIBLE', expected true or false" 2 ;;
esac

# Images travel to the preprocess model through shared memory, of which a container gets 64 MiB unless told otherwise:
# a batch of 64 photographs of 4 MB does not fit.
shared_memory_mib=$(df -Pm /dev/shm | awk 'NR == 2 { print $2 }')
if [ "$shared_memory_mib" -lt 256 ]; then
    printf 'alexnet-triton: only %s MiB of shared memory, too little for large batches\n  next: %s\n' \
        "$shared_memory_mib" 'docker run --shm-size=1g ...' >&2
fi

# A config that says too little is a fault to report, not a gap to fill.
exec tritonserver --model-repository="$repository" --disable-auto-complete-config "$@"
