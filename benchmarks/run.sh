#!/bin/sh
# The whole benchmark: our packages beside every peer, Table 8 anew, and where our time goes.
# usage: benchmarks/run.sh FOLDER [options of `tvm-shufflenet bench`, such as --rounds 40]
set -eu
folder=${1:?usage: benchmarks/run.sh FOLDER [bench options]}
shift
networks="shufflenet_v1_g3_x1.0 shufflenet_v1_g3_x0.5_arch2 alexnet"
mkdir -p "$folder"
# shellcheck disable=SC2086 # the list is meant to be split
tvm-shufflenet bench $networks --threads 1 --threads all \
    --json "$folder/bench.json" --plot "$folder/bench.png" "$@"
tvm-shufflenet compare --size 224x224 --size 480x640 --size 720x1280 --json > "$folder/table8.json"
tvm-shufflenet compare --from "$folder/table8.json"
for network in $networks; do
    tvm-shufflenet compile "$network" --overwrite -o "$folder/$network"
    tvm-shufflenet profile "$folder/$network" --json > "$folder/$network.profile.json"
done
