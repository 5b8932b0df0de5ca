#!/usr/bin/env bash
# Runs on a GPU, once, what tfcaption has for GPUs, and compares it with the CPU. Paste all of its output.
#
#   tests/system/gpu_check.sh [--device gpu|cpu] [--quick] [--photos N] [--keep FOLDER]
#
# --device  cpu: everything on the CPU, to try this script itself (default: gpu)
# --quick   the smallest sizes
# --photos  drawn photos to train from (default: 400)
# --keep    folder for what it writes (default: a temporary one, which is removed)
# In the environment: PYTHON (default: .venv/bin/python if it is there, or python3).
#
# Draws photos, extracts features, trains both variants, captions a photo, exports, and measures the training step
# (python -m tfcaption.benchmark gpu, with traces). Fails where features or losses differ from those of the CPU by more
# than rounding explains. Its last line is PASS, or FAIL with the points that failed.
set -uo pipefail
cd "$(dirname "$0")/../.."

usage() { sed -n '2,/^set /{/^set /d; s/^# \{0,1\}//; p}' "$0"; }
fail_usage() {
  echo "error: $1; tests/system/gpu_check.sh --help shows all options" >&2
  exit 2
}

device=gpu photos=400 keep= quick=
while (($#)); do
  case $1 in
    --help) usage && exit 0 ;;
    --quick) quick=1 && shift ;;
    --device | --photos | --keep)
      (($# > 1)) || fail_usage "$1 needs a value"
      declare "${1#--}=$2" && shift 2
      ;;
    *) fail_usage "unknown option $1" ;;
  esac
done
case $device in gpu | cpu) ;; *) fail_usage "--device $device: gpu or cpu" ;; esac

python=${PYTHON:-}
[ -n "$python" ] || { [ -x .venv/bin/python ] && python=.venv/bin/python || python=python3; }
folder=${keep:-$(mktemp -d)}
[ -n "$keep" ] || trap 'rm -rf "$folder"' EXIT
mkdir -p "$folder"
export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH} TF_CPP_MIN_LOG_LEVEL=2

image_size=224 units=512 epochs=3 benchmark=()
if [ -n "$quick" ]; then
  image_size=32 units=16 epochs=2
  benchmark=(--photos 64 --image_size 32 --steps 2 --repeats 1 --set data.batch_size_photos=8 data.length_buckets=2
    model.embedding_units=16 model.gru_units=64 model.dense_units=64 train.learning_rate=0.003)
fi

# A point: its name, then its command. All of them run, also after one that failed.
failed=()
point() {
  local name=$1 start=$SECONDS
  shift
  echo
  echo "== $name: $*"
  if "$@"; then
    echo "-- $name: passed in $((SECONDS - start)) s"
  else
    echo "-- $name: FAILED (exit code $?)"
    failed+=("$name")
  fi
}
tfc() { "$python" -m "$@"; }
on_cpu() { CUDA_VISIBLE_DEVICES=-1 "$python" -m "$@"; }
# On the device that is checked: the first GPU, as the benchmark takes it, since TensorFlow would take all memory of all.
on_device() {
  if [ "$device" = cpu ]; then
    on_cpu "$@"
  else
    local visible=${CUDA_VISIBLE_DEVICES:-0}
    CUDA_VISIBLE_DEVICES=${visible%%,*} tfc "$@"
  fi
}

machine() {
  uname -srm
  grep -m 1 'model name' /proc/cpuinfo
  if command -v nvidia-smi > /dev/null; then nvidia-smi; else echo "no nvidia-smi"; fi
  git log -1 --format='commit %h of %cs' 2> /dev/null
  "$python" - "$device" << 'END'
import sys
from importlib.metadata import version

import tensorflow as tf

gpus = tf.config.list_physical_devices("GPU")
print(f"Python {sys.version.split()[0]}", *(f"{name} {version(name)}" for name in ("tfcaption", "tensorflow", "keras")))
print("CUDA", tf.sysconfig.get_build_info().get("cuda_version"), "cuDNN", tf.sysconfig.get_build_info().get("cudnn_version"))
print("GPUs that TensorFlow finds:", [tf.config.experimental.get_device_details(gpu) for gpu in gpus] or "none")
sys.exit(sys.argv[1] == "gpu" and not gpus)
END
}

sample() {
  tfc tfcaption.sample_data --output "$folder/sample" --photos "$photos" &&
    tfc beam_jobs.build_records --images "$folder/sample/Flicker8k_Dataset" --captions "$folder/sample/Flickr8k_text" \
      --output "$folder/records" --image_size "$image_size" --min_count 1
}

extract() { # [on_device|on_cpu] FOLDER PRECISION
  local job=(beam_jobs.extract_features --records "$folder/records" --weights random --precision "$3")
  "$1" "${job[@]}" --output "$2/trunk" --stage trunk &&
    "$1" "${job[@]}" --features "$2/trunk" --output "$2/pooled" --stage pooled
}

train() { # [on_device|on_cpu] VARIANT STAGE RUN [KEY=VALUE...]
  local settings=(data.records="$folder/records" data.features="$folder/device/$3" data.batch_size_photos=16
    model.variant="$2" model.weights=random model.gru_units="$units" model.dense_units="$units" model.dropout=0
    train.epochs="$epochs" train.shown_photos=0 run="$folder/runs/$4")
  "$1" tfcaption.train --config small --set "${settings[@]}" "${@:5}"
}

measure() { # VARIANT
  on_device tfcaption.benchmark gpu --device "$device" --configs "flickr8k_$1" --profile "$folder/traces" \
    --json "$folder/gpu-$1.json" ${benchmark[@]+"${benchmark[@]}"}
}

trace() { # VARIANT
  find "$folder/traces/flickr8k_$1" -name '*.xplane.pb' | grep .
}

photo() { find "$folder/sample/Flicker8k_Dataset" -name '*.jpg' | sort | head -n "$1"; }
caption() { # [on_device|on_cpu] MODEL
  local photos
  mapfile -t photos < <(photo 3)
  "$1" tfcaption.caption "$2" "${photos[@]}"
}

compare() { "$python" -m tests.support.comparisons "$@"; }

point "machine" machine
point "data" sample
point "features on the device" extract on_device "$folder/device" float32
point "features on the CPU" extract on_cpu "$folder/cpu" float32
point "features on the device in bfloat16" extract on_device "$folder/bfloat16" bfloat16
# A GPU multiplies float32 as TF32, rounded to 11 bits (2 ** -11 = 0.0005), in 50 layers, one after the other: if their
# errors are independent, sqrt(50) times that, 0.0035; what is stored as float16 adds 2 ** -12. bfloat16 has 8 bits: 0.028.
for stage in trunk pooled; do
  point "features agree, $stage" compare features "$folder/device/$stage" "$folder/cpu/$stage" 0.01
  point "features in bfloat16 agree, $stage" compare features "$folder/bfloat16/$stage" "$folder/cpu/$stage" 0.05
done
for variant in frozen finetuned; do
  [ "$variant" = frozen ] && stage=pooled || stage=trunk
  point "training, $variant" train on_device "$variant" "$stage" "$variant"
  point "training on the CPU, $variant" train on_cpu "$variant" "$stage" "$variant-cpu" train.precision=float32
  # Rounding to bfloat16 (2 ** -8) decides the sign of gradients near zero, which Adam takes steps of full length by, and
  # batches have other padded lengths here and there; benchmark gpu compares the same batches more closely.
  point "losses agree, $variant" compare losses "$folder/runs/$variant" "$folder/runs/$variant-cpu" 0.05
done
point "captions of a run" caption on_device "$folder/runs/finetuned"
point "the same captions on the CPU, to compare by eye" caption on_cpu "$folder/runs/finetuned"
point "export" on_device tfcaption.export "$folder/runs/finetuned" --output "$folder/export/1"
point "captions of an export" caption on_device "$folder/export/1"
for variant in frozen finetuned; do
  point "the training step, $variant" measure "$variant"
  point "its trace, $variant" trace "$variant"
done

echo
if ((${#failed[@]})); then
  printf -v names '%s; ' "${failed[@]}"
  echo "FAIL: ${names%; }"
  exit 1
fi
echo "PASS"
