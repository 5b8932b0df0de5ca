"""Prints the results of `tfcaption benchmark all --json FILE` as Markdown: python docs/machine_table.py FILE."""

import json
import sys
from pathlib import Path
from typing import Any


def machine_table(results: dict[str, Any]) -> str:
    """The machine, and a table of each benchmark, as a section of a page."""
    machine, data = results["machine"], results["data"]
    gpus = f", {len(machine['gpus'])} GPU(s): {'; '.join(machine['gpus'])}" if machine["gpus"] else ""
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    load = f"load average before the start {machine['load_average']:g}"
    lines = [
        f"## {machine['cpu'] or 'Unknown CPU'}, {machine['threads']} threads",
        "",
        f"{machine['date']}: {machine['cores']} cores, {machine['memory_gb']:g} GB of memory{gpus}; "
        f"{machine['system']}; {load}. {versions}.",
        "",
        f"{data['photos']:,} {'drawn ' if data['drawn'] else ''}photos of {data['image_size']} pixels with "
        f"{data['captions']:,} captions, {data['words']:,} words.",
    ]
    if results["quick"]:
        lines += ["", "With `--quick`, so that the figures say nothing of the machine."]
    for benchmark in results["benchmarks"]:
        arguments = benchmark["command"].removeprefix("python -m tfcaption.benchmark ")
        lines += ["", f"`{arguments}` ({benchmark['seconds']:,.0f} s)", ""]
        if benchmark["failure"]:
            lines.append(f"Failed: {benchmark['failure']}")
            continue
        lines += ["| | median | range | | ratio |", "| --- | --- | --- | --- | --- |"]
        for row in benchmark["rows"]:
            low, high = min(row["values"]), max(row["values"])
            cells = [row["name"], f"{row['median']:,.1f}", f"{low:,.1f} - {high:,.1f}", row["unit"] + row["note"]]
            cells.append(f"{row['ratio']:.2f}" if "ratio" in row else "")
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(machine_table(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))))
