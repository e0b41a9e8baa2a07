#!/usr/bin/env bash
# Classify image files on Triton with nothing but curl and jq, over HTTP:
#
#     ./classify.sh [-u http://localhost:8000] [-k 5] [-t 10] IMAGE...
#
# Prints path, label and score, separated by tabs. Exit status: 0 done, 1 an image failed, 2 wrong usage.
set -euo pipefail

url=http://localhost:8000 top=5 deadline_s=10
usage() { echo "usage: ${0##*/} [-u URL] [-k TOP] [-t SECONDS] IMAGE..." >&2; exit 2; }
while getopts u:k:t: option; do
  case $option in
    u) url=$OPTARG ;;
    k) top=$OPTARG ;;
    t) deadline_s=$OPTARG ;;
    *) usage ;;
  esac
done
shift $((OPTIND - 1))
(($# > 0)) && [[ $top =~ ^[1-9][0-9]*$ ]] || usage

# The request is described in JSON; the image follows as it is, after its size in four bytes, little-endian.
classify() {
  local image=$1 size head byte
  size=$(wc -c <"$image")
  head='{"inputs": [{"name": "IMAGE", "datatype": "BYTES", "shape": [1, 1],
                    "parameters": {"binary_data_size": '$((4 + size))'}}],
         "outputs": [{"name": "PROBABILITIES", "parameters": {"classification": '$top'}}]}'
  {
    printf '%s' "$head"
    for byte in 0 1 2 3; do printf '%b' "\\x$(printf %02x $((size >> 8 * byte & 255)))"; done
    cat -- "$image"
  } | curl --silent --show-error --max-time "$deadline_s" "$url/v2/models/classifier/infer" \
    --header "Inference-Header-Content-Length: ${#head}" --data-binary @-
}

# An element is score:index:label, and the label may hold colons of its own.
# shellcheck disable=SC2016  # $image is jq's
lines='if .error then "\($image): \(.error)\n" | halt_error(1)
  else .outputs[0].data[] | split(":") | [$image, (.[2:] | join(":")), .[0]] | @tsv end'

failed=0
for image; do
  if [[ ! -f $image || ! -r $image ]]; then
    echo "$image: not a file that can be read" >&2
    failed=1
  elif ! reply=$(classify "$image" 2>&1); then
    echo "$image: $reply" >&2
    failed=1
  else
    jq --raw-output --arg image "$image" "$lines" <<<"$reply" || failed=1
  fi
done
exit "$failed"
