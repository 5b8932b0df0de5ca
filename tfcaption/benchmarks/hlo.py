"""Reads a program in XLA's text format (HLO), and says how often each of its instructions runs.

A loop does not say how often its body runs, so its integers are run.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from tfcaption.benchmarks.harness import BenchmarkError

MOST_ITERATIONS = 100_000  # of a loop that is run

_ASSIGNMENT = re.compile(r"(ROOT )?%?([\w.\-]+) = ")


@dataclass(frozen=True)
class Instruction:
    """One line of a computation."""

    name: str
    shape: str  # text such as `f32[2,3]{1,0}`, or of a tuple
    opcode: str
    operands: list[str]  # names
    text: str  # between the parentheses: the value of a constant, the number of a parameter
    attributes: str  # what follows

    def attribute(self, name: str) -> str:
        """The text of an attribute up to the next comma, or within its braces; empty if there is none."""
        found = re.search(rf"\b{name}=(?:\{{([^}}]*)\}}|([^,\s]+))", self.attributes)
        return (found[1] or found[2] or "") if found else ""

    def computation(self, name: str) -> str:
        """The name of the computation in an attribute."""
        return self.attribute(name).lstrip("%")

    @property
    def called(self) -> str:
        """The name of the computation that a call or a fusion runs."""
        return self.computation("calls") or self.computation("to_apply")


@dataclass
class Computation:
    """Instructions by name, in their order, and the one whose value is the result."""

    instructions: dict[str, Instruction] = field(default_factory=dict)
    root: str = ""

    def needed(self) -> Iterator[Instruction]:
        """The instructions that the result depends on: TensorFlow leaves others in, which XLA removes."""
        seen, left = {self.root}, [self.root]
        while left:
            instruction = self.instructions[left.pop()]
            yield instruction
            for name in instruction.operands:
                if name not in seen:
                    seen.add(name)
                    left.append(name)

    def parameter(self, number: int) -> str:
        """The name of a parameter."""
        return next(
            name
            for name, one in self.instructions.items()
            if one.opcode == "parameter" and one.text.strip() == str(number)
        )


Visit: TypeAlias = Callable[[Computation, Instruction, int], None]


class Program:
    """A program that was read from its text."""

    def __init__(self, text: str) -> None:
        self.computations: dict[str, Computation] = {}
        self.entry = ""
        current = None
        for line in re.sub(r"/\*.*?\*/", "", text).splitlines():
            line = line.strip()
            if line.endswith("{") and not _ASSIGNMENT.match(line) and not line.startswith("HloModule"):
                name = re.match(r"(ENTRY )?%?([\w.\-]+)", line)
                if name is None:
                    continue
                current = self.computations[name[2]] = Computation()
                self.entry = name[2] if name[1] else self.entry
            elif line.startswith("}"):
                current = None
            elif current is not None and (start := _ASSIGNMENT.match(line)):
                instruction = _instruction(start[2], line[start.end() :])
                current.instructions[instruction.name] = instruction
                current.root = instruction.name if start[1] else current.root
        if not self.entry:
            raise BenchmarkError("XLA's program has no entry; its text format has changed")

    def walk(self, visit: Visit, *, into_fusions: bool) -> None:
        """Visit each instruction that is needed, but for loops and calls, with the number of times that it runs.

        Args:
            visit: called with the computation of the instruction, the instruction, and that number.
            into_fusions: visit the instructions of a fusion instead of itself.

        Raises:
            BenchmarkError: the iterations of a loop depend on more than integers.
        """
        opened = {"call", "async-start", *(("fusion",) if into_fusions else ())}

        def walk(frame: "_Frame", times: int) -> None:
            for instruction in frame.computation.needed():
                if instruction.opcode == "while":
                    iterations = frame.iterations(instruction)
                    start = frame.later(instruction.operands[0])
                    walk(_Frame(self, instruction.computation("body"), [start]), times * iterations)
                    walk(_Frame(self, instruction.computation("condition"), [start]), times * (iterations + 1))
                elif instruction.opcode in opened:
                    walk(frame.inside(instruction), times)
                else:
                    visit(frame.computation, instruction, times)

        walk(_Frame(self, self.entry, []), 1)


def _instruction(name: str, text: str) -> Instruction:
    """An instruction from what follows its `name = `."""
    end = _closing(text, 0) + 1 if text.startswith("(") else text.index(" ")
    shape, text = text[:end], text[end:].lstrip()
    opening = text.index("(")
    closing = _closing(text, opening)
    inner = text[opening + 1 : closing]
    attributes = re.sub(r"metadata=\{[^}]*\}", "", text[closing + 1 :])
    operands = re.findall(r"%([\w.\-]+)", inner)
    if not operands and text[:opening] not in ("constant", "parameter"):  # printed without percent signs
        operands = [part.split()[-1] for part in _top_level_parts(inner)]
    return Instruction(name, shape, text[:opening], operands, inner, attributes)


def _closing(text: str, opening: int) -> int:
    """The index of the parenthesis that closes the one at `opening`."""
    depth = 0
    for index in range(opening, len(text)):
        depth += (text[index] == "(") - (text[index] == ")")
        if not depth:
            return index
    raise BenchmarkError("XLA's program has a line that does not end; its text format has changed")


def _top_level_parts(text: str) -> list[str]:
    parts, depth, start = [], 0, 0
    for index, character in enumerate(f"{text},"):
        depth += (character in "([{") - (character in ")]}")
        if character == "," and not depth:
            parts.append(text[start:index].strip())
            start = index + 1
    return [part for part in parts if part]


_Value: TypeAlias = "int | _Tuple | None"
"""An integer or truth value, a tuple, or something that is not followed."""


@dataclass(frozen=True)
class _Tuple:
    parts: Sequence[Callable[[], _Value]]


class _Frame:
    """The integers of one run of a computation, each found when it is asked for."""

    def __init__(self, program: Program, name: str, arguments: Sequence[Callable[[], _Value]]) -> None:
        self._program, self._arguments = program, arguments
        self.computation = program.computations[name]
        self._known: dict[str, _Value] = {}

    def later(self, name: str) -> Callable[[], _Value]:
        """The value of an instruction, to be found when it is asked for."""
        return lambda: self.value(name)

    def inside(self, call: Instruction) -> "_Frame":
        """The computation that a call or a fusion runs."""
        return _Frame(self._program, call.called, [self.later(name) for name in call.operands])

    def value(self, name: str) -> _Value:
        """The value of an instruction."""
        if name not in self._known:
            self._known[name] = self._find(self.computation.instructions[name])
        return self._known[name]

    def iterations(self, loop: Instruction) -> int:
        """How often the body of a loop runs.

        Raises:
            BenchmarkError: its condition depends on more than integers.
        """
        known = re.search(r'"known_trip_count":\{"n":"(\d+)"\}', loop.attributes)
        return int(known[1]) if known else self._run(loop)[0]

    def _run(self, loop: Instruction) -> tuple[int, _Value]:
        """Run a loop: its iterations, and its value."""
        state = self.later(loop.operands[0])
        for count in range(MOST_ITERATIONS):
            test = _Frame(self._program, loop.computation("condition"), [state])
            goes_on = test.value(test.computation.root)
            if goes_on is None:
                break
            if not goes_on:
                return count, state()
            frame = _Frame(self._program, loop.computation("body"), [state])
            state = frame.later(frame.computation.root)
        raise BenchmarkError(f"{loop.name}: the number of iterations of this loop is not known")

    def _find(self, instruction: Instruction) -> _Value:
        opcode, operands = instruction.opcode, instruction.operands
        if opcode == "parameter":
            number = int(instruction.text)
            return self._arguments[number]() if number < len(self._arguments) else None
        if opcode == "constant":
            words = {"true": 1, "false": 0}
            text = instruction.text.strip()
            return words.get(text, int(text) if re.fullmatch(r"-?\d+", text) else None)
        if opcode == "tuple":
            return _Tuple([self.later(name) for name in operands])
        if opcode == "get-tuple-element":
            whole = self.value(operands[0])
            return whole.parts[int(instruction.attribute("index"))]() if isinstance(whole, _Tuple) else None
        if opcode in ("call", "fusion"):
            inner = self.inside(instruction)
            return inner.value(inner.computation.root)
        if opcode == "while":
            try:
                return self._run(instruction)[1]
            except BenchmarkError:
                return None
        if opcode in ("copy", "bitcast", "convert", "reshape"):
            return self.value(operands[0])
        rule = _ARITHMETIC.get(f"compare {instruction.attribute('direction')}" if opcode == "compare" else opcode)
        values = [self.value(name) for name in operands] if rule else []
        return rule(*values) if rule and all(isinstance(value, int) for value in values) else None


_ARITHMETIC: dict[str, Callable[..., int]] = {
    "add": lambda a, b: a + b,
    "subtract": lambda a, b: a - b,
    "multiply": lambda a, b: a * b,
    "minimum": min,
    "maximum": max,
    "and": lambda a, b: a & b,
    "or": lambda a, b: a | b,
    "not": lambda a: int(not a),
    "compare LT": lambda a, b: int(a < b),
    "compare LE": lambda a, b: int(a <= b),
    "compare GT": lambda a, b: int(a > b),
    "compare GE": lambda a, b: int(a >= b),
    "compare EQ": lambda a, b: int(a == b),
    "compare NE": lambda a, b: int(a != b),
}
