#!/bin/bash
# Trains on all nodes of a SLURM job, one process a node, which uses all GPUs of its node:
#
#   sbatch --nodes=4 docs/launch/slurm.sh --config flickr8k_frozen --set run=/shared/runs/mine data.records=...
#
# Before the time limit, and when SLURM preempts the job, it saves a checkpoint, exits with code 75 and is queued again.
#SBATCH --job-name=tfcaption
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=1
#SBATCH --cpus-per-task=8
#SBATCH --time=24:00:00
#SBATCH --signal=TERM@300
#SBATCH --requeue
#SBATCH --open-mode=append

export PATH="${VENV:-$PWD/.venv}/bin:$PATH" # the environment that tfcaption is installed in, on a disk of all nodes
port=$((20000 + SLURM_JOB_ID % 20000))      # another one for each job
HOSTS=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | sed "s/.*/\"&:$port\"/" | paste -sd,)
export HOSTS

# A host that exits first must not end the others, which may still save.
srun --kill-on-bad-exit=0 bash -c '
  export TF_CONFIG="{\"cluster\": {\"worker\": [$HOSTS]}, \"task\": {\"type\": \"worker\", \"index\": $SLURM_NODEID}}"
  exec python -m tfcaption.train "$@"' train "$@"
code=$?
if [ $code -eq 75 ]; then
  scontrol requeue "$SLURM_JOB_ID"
fi
exit $code
