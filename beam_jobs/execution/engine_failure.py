"""What failed first when the job of an engine fails, in one line: its message is a trace of Java, Python or Go."""

import re
from pathlib import Path

import grpc

_STATE = re.compile(r"Pipeline \S+ failed in state (\w+): ")  # how Beam's Python SDK begins
_TRACEBACK = "Traceback (most recent call last)"
# The line of a traceback that names an exception, and what a worker adds to it.
_EXCEPTION = re.compile(r"^(?:\w+\.)*\w+(?:Error|Exception|Failed|Interrupt|Exit)\b.*", re.M)
_INSTRUCTION = re.compile(r"(\[while running '[^']*?)-ptransform-\d+'")
_CAUSED_BY = re.compile(r"^\s*Caused by: (.*)", re.M)
_LOGGED = re.compile(r"\b(?:panic: .*|(?:\w+\.)+\w*(?:Exception|Error)\b.*)")
_LONGEST = 500  # characters
# What Flink, Spark and Prism say of a worker process that has ended.
_WORKER_ENDED = ("CANCELLED: client cancelled", "TimeoutException: Waited 3 minutes", "SDK worker disconnected")


def first_cause(error: Exception, log: Path) -> str:
    """What failed first, in one line.

    Args:
        error: what Beam raised.
        log: what the job server said; it is read where Beam knows only that the job server has ended.
    """
    if isinstance(error, grpc.RpcError):
        logged = _LOGGED.search(log.read_text(encoding="utf-8", errors="replace"))
        details = error.details() if isinstance(error, grpc.Call) else str(error)
        return _one_line(f"the job server ended: {logged[0] if logged else details}")
    message = str(error)
    state = _STATE.match(message)
    message = message[state.end() :] if state else message
    if state and state[1] == "CANCELLED":
        return "it was cancelled"
    if _TRACEBACK in message:
        raised = _EXCEPTION.findall(message.partition(_TRACEBACK)[2])
        if raised:
            return _one_line(_INSTRUCTION.sub(r"\1'", raised[-1]))
    causes = _CAUSED_BY.findall(message)
    cause = _one_line(causes[-1] if causes else message.strip().partition("\n")[0])
    sign = next((sign for sign in _WORKER_ENDED if sign in cause), None)
    return f"a worker process ended before its work, killed or out of memory ({sign})" if sign else cause


def _one_line(text: str) -> str:
    line = " ".join(text.split()).rstrip(".")
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]}..."
