"""What the processors of this machine are, and what they can do, as far as the system says it without TensorFlow."""

import shutil
import subprocess
from pathlib import Path


def cpu_model() -> str:
    """The model of the CPU, such as `AMD EPYC 7B13`; empty where the system does not say."""
    cpu_info = Path("/proc/cpuinfo")
    lines = cpu_info.read_text(encoding="utf-8").splitlines() if cpu_info.is_file() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")


def gpu_models() -> list[str]:
    """Model, memory and driver of each NVIDIA GPU, as nvidia-smi says them; none where there is no nvidia-smi."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    query = [program, "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    answer = subprocess.run(query, capture_output=True, text=True)
    return [] if answer.returncode else [line.strip() for line in answer.stdout.splitlines() if line.strip()]


def cpu_multiplies_bfloat16() -> bool:
    """Whether the CPU multiplies bfloat16, twice as fast as float32; without instructions it is far slower."""
    cpu = Path("/proc/cpuinfo")
    flags = set(cpu.read_text().split()) if cpu.is_file() else set()
    return bool(flags & {"avx512_bf16", "amx_bf16"})
