#!/usr/bin/env bash
# The whole acceptance, on a machine with an NVIDIA GPU, Docker and the NVIDIA Container Toolkit, with the real containers:
# a plan in every precision, compared with torch by itself and behind Triton; what must be refused; plans for several
# GPUs and for other versions; where the time goes; CUDA graphs; the best settings. An hour or less, most of it downloads.
#
#   docker/verify-gpu.sh [--output DIR] [--data DIR] [--gpu N]
#
# --output   folder for the report, the logs and the repositories; gpu-report if not given
# --data     labelled photographs of the demo network's classes, DIR/<label>/<photograph>: accuracy is compared, too
# --gpu      index of the GPU, as nvidia-smi -L shows it; 0 if not given
#
# Prints a line for each step, and writes DIR/report.md. Exits with 1 if a step failed, and goes on after it.
# shellcheck disable=SC2329  # step calls the functions
set -euo pipefail

usage() { sed -n '/^#   docker/,/^# Prints/p' "$0" >&2; exit 2; }

output=gpu-report data='' gpu=0
while [ $# -gt 0 ]; do
    [ $# -ge 2 ] || usage
    case $1 in
        --output) output=$2 ;;
        --data) data=$(cd "$2" && pwd) ;; # ends here where there is no such folder
        --gpu) gpu=$2 ;;
        *) usage ;;
    esac
    shift 2
done
if [ -e "$output" ] && [ -n "$(ls -A "$output")" ]; then
    echo "$0: $output is not empty, and what an earlier run left there would be tested; take it away, or give --output" >&2
    exit 2
fi
mkdir -p "$output/logs"
output=$(cd "$output" && pwd)
cd "$(dirname "$0")/.."

# shellcheck source=/dev/null
. docker/.env
export TRITON_TAG TENSORRT_VERSION
builder_image=alexnet-triton-builder:$TRITON_TAG
server_image=alexnet-triton-server:$TRITON_TAG
server=alexnet-triton-verify-$$
steps=$output/steps.tsv
: >"$steps"
failed=0

# step NAME COMMAND...: run a command, keep what it says, and say whether it did what it should.
step() {
    local name=$1 log started seconds result=passed
    shift
    log=$output/logs/${name//[^a-z0-9]/-}.log
    started=$SECONDS
    "$@" >"$log" 2>&1 </dev/null || result=FAILED
    seconds=$((SECONDS - started))
    printf '%s\t%s\t%s\n' "$name" "$result" "$seconds" >>"$steps"
    printf '%-7s %5s s  %s\n' "$result" "$seconds" "$name"
    if [ "$result" = FAILED ]; then
        failed=1
        sed 's/^/    | /' <(tail -n 5 "$log")
        printf '    all of it: %s\n' "$log"
    fi
}

# refused TEXT COMMAND...: the command must fail and say why.
refused() {
    local text=$1 said
    shift
    if said=$("$@" 2>&1); then
        printf '%s\nthis should have been refused\n' "$said"
        return 1
    fi
    printf '%s\n' "$said"
    grep -q -- "$text" <<<"$said"
}

# builder COMMAND...: run a command in the builder's container, with the GPU and the folders.
builder() {
    docker run --rm --gpus "device=$gpu" --user "$(id -u):$(id -g)" --network host --shm-size=1g \
        --volume "$output:/out" ${data:+--volume "$data:/data:ro"} \
        --entrypoint /opt/nvidia/nvidia_entrypoint.sh "$builder_image" "$@"
}

build() { builder alexnet-build repository --weights demo --engine tensorrt --timing-cache /out/timing.cache "$@"; }

# serve REPOSITORY [FLAG]...: start Triton on it and wait until it is healthy; VERSION_COMPATIBLE=true is passed on.
serve() {
    local repository=$1
    shift
    docker run --detach --name "$server" --gpus "device=$gpu" --shm-size=4g \
        --publish 127.0.0.1:8000:8000 --publish 127.0.0.1:8001:8001 \
        --env TENSORRT_VERSION_COMPATIBLE="${VERSION_COMPATIBLE:-false}" \
        --volume "$output/$repository:/models:ro" "$server_image" "$@" || return 1
    for _ in $(seq 120); do
        case $(docker inspect --format '{{.State.Status}} {{.State.Health.Status}}' "$server") in
            'running healthy') return ;;
            exited*) docker logs "$server"; return 1 ;;
        esac
        sleep 1
    done
    docker logs "$server"
    return 1
}

stop() { docker rm --force "$server" >/dev/null 2>&1 || true; }
trap stop EXIT

# served REPOSITORY PRECISION: what Triton answers agrees with torch, and photographs get labels.
served() {
    # shellcheck disable=SC2016  # for the container's shell
    serve "$1" && builder alexnet-build verify --weights demo --url localhost:8001 --precision "$2" \
        && builder sh -c 'alexnet-client classify "$(python3 -c "import alexnet_build.verify as v; print(v.PHOTOGRAPHS)")"'
    local result=$?
    stop
    return "$result"
}

# check REPOSITORY [FLAG]...: the server's preflight, in the server's container.
check() {
    local repository=$1
    shift
    docker run --rm --gpus "device=$gpu" --volume "$output/$repository:/models:ro" \
        --entrypoint python3 "$server_image" -m alexnet_server check --repository /models "$@"
}

# pretend FIELD VALUE FROM TO: a copy of a repository whose newest plan says something else of itself.
pretend() {
    rm -rf "${output:?}/$4" && cp -r "$output/$3" "$output/$4"
    builder python3 -c '
import json, pathlib, sys
field, value, folder = sys.argv[1:]
path = max(pathlib.Path("/out", folder, "alexnet").glob("*/manifest.json"), key=lambda p: int(p.parent.name))
path.write_text(json.dumps(json.loads(path.read_text()) | {field: value}))' "$1" "$2" "$4"
}

other_gpu() { pretend compute_capability 5.0 fp16 other-gpu && refused 'compute capability' check other-gpu; }
other_tensorrt() { pretend builder_version 10.0.0.1 fp16 other-tensorrt && refused 'TensorRT 10.0' check other-tensorrt; }
not_started() { refused 'compute capability' serve other-gpu; }
several_gpus() {
    pretend compute_capability 5.0 fp16 several-gpus && build --precision fp16 --keep-other-gpus --output /out/several-gpus \
        && ls "$output"/several-gpus/alexnet/2/model_sm50.plan && check several-gpus && served several-gpus fp16
}
version_compatible() {
    build --precision fp16 --version-compatible --output /out/version-compatible \
        && refused 'version-compatible=true' check version-compatible \
        && VERSION_COMPATIBLE=true served version-compatible fp16
}
hardware_compatible() {
    build --precision fp16 --hardware-compatible ampere_plus --output /out/hardware-compatible \
        && served hardware-compatible fp16
}
tuned() {
    serve fp16 --model-control-mode=explicit '--load-model=*' \
        && builder alexnet-build tune --repository /out/fp16 --url localhost:8001 --minutes 5 "$@"
    local result=$?
    stop
    return "$result"
}

capability=$(nvidia-smi --id="$gpu" --query-gpu=compute_cap --format=csv,noheader) || {
    echo "$0: no NVIDIA GPU $gpu here (nvidia-smi failed); expected a machine with its driver installed" >&2
    exit 1
}
docker info >/dev/null || { echo "$0: Docker does not answer; start it, or add yourself to the group docker" >&2; exit 1; }
precisions='fp32 fp16 int8'
[ "${capability%.*}" -ge 8 ] && precisions+=' bf16'
[ "${capability%.*}${capability#*.}" -ge 89 ] && precisions+=' fp8'
nvidia-smi --id="$gpu" >"$output/gpu.txt"

step 'images' docker compose --file docker/compose.yaml build
step 'tensorrt and python packages' builder python3 -c 'import tensorrt, torch; print(tensorrt.__version__, torch.__version__)'
for precision in $precisions; do
    calibration=()
    case $precision in int8 | fp8) [ -z "$data" ] || calibration=(--calibration /data) ;; esac
    step "build $precision" build --precision "$precision" --output "/out/$precision" \
        ${data:+--photographs /data} "${calibration[@]}"
    step "verify $precision with cuda graphs" builder alexnet-build verify --weights demo --precision "$precision" \
        --plan "/out/$precision/alexnet/1/model.plan" --output "/out/verify-$precision" ${data:+--photographs /data}
    step "inspect $precision" builder alexnet-build inspect --plan "/out/$precision/alexnet/1/model.plan" \
        --output "/out/inspect-$precision"
    step "preflight $precision" check "$precision"
    step "serve $precision" served "$precision" "$precision"
done
step 'plan for another gpu is refused by check' other_gpu
step 'plan for another gpu is not started' not_started
stop
step 'plan of another tensorrt is refused' other_tensorrt
step 'plans for several gpus in one version' several_gpus
step 'version-compatible plan' version_compatible
[ "${capability%.*}" -ge 8 ] && step 'hardware-compatible plan' hardware_compatible
step 'cuda graphs behind triton, alternating inputs' tuned --cuda-graphs
step 'serve fp16 as tuned' served fp16 fp16

builder python3 /opt/alexnet-triton/docker/gpu_report.py /out >/dev/null || failed=1
printf '\n%s\n' "the whole of it: $output/report.md"
exit "$failed"
