#!/bin/bash
# Checks one GPU in about six minutes: docs/gpu-check.md. From the repository's root: bash tools/gpu_check/check.sh
# Each part has a time limit, and the next one runs whatever became of it; all together stay under 540 seconds.
#   OUT=folder       where summary.txt, measure.json and all logs go (gpu-check)
#   WHEELS=folder    wheels to install first, on a machine without a network
#   DEVICE=cpu QUICK=1   tries on a CPU that every part starts and ends
export DEVICE=${DEVICE:-cuda} OUT=${OUT:-$PWD/gpu-check} PYTHONUNBUFFERED=1 PYTHONWARNINGS=ignore
PY=${PY:-python3}; mkdir -p "$OUT"
if [ -n "$WHEELS" ]; then
  $PY -m pip install -q --no-index --no-deps --no-cache-dir --upgrade --target "$OUT/site" "$WHEELS"/*.whl || exit 1
  PYTHONPATH=$OUT/site:$PYTHONPATH
fi
export PYTHONPATH=$PWD:$PYTHONPATH BARBENCH_CACHE=${BARBENCH_CACHE:-$OUT/cache} BARBENCH_CHECK_DEVICE=$DEVICE
[ "$DEVICE" = cuda ] && nvidia-smi --query-gpu=name,memory.total,driver_version,clocks.sm --format=csv,noheader | tee "$OUT/card.txt"
failed=0; : > "$OUT/summary.txt"
part() { # part NAME SECONDS COMMAND...: the log goes to OUT/NAME.log, one line to the summary
  local name=$1 limit=$(($2 * ${SLOWER:-1})) begin=$SECONDS code last; shift 2
  timeout -k 5 "$limit" "$@" > "$OUT/$name.log" 2>&1; code=$?
  [ $code = 0 ] || failed=1
  last=$(grep -v '^\s*$' "$OUT/$name.log" | tail -1 | cut -c1-150)
  printf '%-10s rc %-3s %4ss  %s\n' "$name" "$code" "$((SECONDS - begin))" "$last" | tee -a "$OUT/summary.txt"
}
run="$PY -m barbench.cli run --dataset refcoco+ --device $DEVICE --results $OUT/results --reports $OUT/reports"
quick=${QUICK:+--quick}; profiled="--backbone ViT-B-16-quickgelu --weights random --batch 32 --precision bf16"
if [ -n "$QUICK" ]; then chosen="-k etris"; profiled="--backbone tiny --batch 2 --precision fp32"; methods=etris; else methods="etris barleria"; fi
# What everything rests on: the device gives the CPU's numbers, in every method and precision, with both kinds of kernels.
part tests 120 $PY -m pytest -q -p no:cacheprovider -m gpu $chosen --maxfail=12 tests/gpu
# Speed of the two methods that span the field, fused kernels and low_memory ones.
part measure 180 $PY -m tools.gpu_check.measure $methods --device "$DEVICE" --out "$OUT" $quick
# The public command: time and FLOPs by part.
part profile 90 $PY -m barbench.cli profile --methods "${methods// /,}" $profiled --device "$DEVICE" --by part --format csv
# One cell from end to end: worker process, loader, checkpoint, evaluation, record.
part job-bf16 90 $run --methods etris --precision bf16 --set epochs=1 ${QUICK:+--plan}
[ "$DEVICE" = cuda ] && part job-fp16 60 $run --methods snf --precision fp16 --set epochs=1
cat "$OUT/measure.log"
exit $failed
