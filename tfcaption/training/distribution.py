"""Hosts and replicas."""

import json
import os

from tfcaption import config as configs


def find_host() -> tuple[int, int]:
    """This host's number and how many there are, from TF_CONFIG; the first one is the chief."""
    described = json.loads(os.environ.get("TF_CONFIG") or "{}")
    workers = described.get("cluster", {}).get("worker", [])
    if "chief" in described.get("cluster", {}):
        raise configs.ConfigError("TF_CONFIG: name all hosts as worker; worker 0 is the chief")
    return (described["task"]["index"], len(workers)) if len(workers) > 1 else (0, 1)
