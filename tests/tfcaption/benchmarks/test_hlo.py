"""A program's text is read with what runs how often."""

import pytest

from tfcaption.benchmarks.harness import BenchmarkError
from tfcaption.benchmarks.hlo import Program

# As TensorFlow prints it: types before operands, comments in long tuples, a condition that calls another computation.
LOOP = """HloModule m, entry_computation_layout={(f32[2,3]{1,0})->f32[2,3]{1,0}}

%test (t: (s32[], s32[], f32[2,3])) -> (pred[]) {
  %t = (s32[], s32[], /*index=2*/f32[2,3]{1,0}) parameter(0)
  %done = s32[] get-tuple-element((s32[], s32[], f32[2,3]{1,0}) %t), index=0
  %end = s32[] get-tuple-element((s32[], s32[], f32[2,3]{1,0}) %t), index=1
  %less = pred[] compare(s32[] %done, s32[] %end), direction=LT
  ROOT %r = (pred[]) tuple(pred[] %less), metadata={op_type="Less" op_name="while/less, direction=GT"}
}

%condition (t: (s32[], s32[], f32[2,3])) -> pred[] {
  %t = (s32[], s32[], f32[2,3]{1,0}) parameter(0)
  %call = (pred[]) call((s32[], s32[], f32[2,3]{1,0}) %t), to_apply=%test
  ROOT %r = pred[] get-tuple-element((pred[]) %call), index=0
}

%body (t: (s32[], s32[], f32[2,3])) -> (s32[], s32[], f32[2,3]) {
  %t = (s32[], s32[], f32[2,3]{1,0}) parameter(0)
  %done = s32[] get-tuple-element((s32[], s32[], f32[2,3]{1,0}) %t), index=0
  %two = s32[] constant(2)
  %next = s32[] add(s32[] %done, s32[] %two)
  %end = s32[] get-tuple-element((s32[], s32[], f32[2,3]{1,0}) %t), index=1
  %x = f32[2,3]{1,0} get-tuple-element((s32[], s32[], f32[2,3]{1,0}) %t), index=2
  %unused = f32[2,3]{1,0} sine(f32[2,3]{1,0} %x)
  %y = f32[2,3]{1,0} negate(f32[2,3]{1,0} %x)
  ROOT %r = (s32[], s32[], f32[2,3]{1,0}) tuple(s32[] %next, s32[] %end, f32[2,3]{1,0} %y)
}

ENTRY %main (x: f32[2,3]) -> f32[2,3] {
  %x = f32[2,3]{1,0} parameter(0)
  %start = s32[] constant(-1)
  %end = s32[] constant(6)
  %t = (s32[], s32[], f32[2,3]{1,0}) tuple(s32[] %start, s32[] %end, f32[2,3]{1,0} %x)
  %while = (s32[], s32[], f32[2,3]{1,0}) while((s32[], s32[], f32[2,3]{1,0}) %t), condition=%condition, body=%body
  %first = s32[] get-tuple-element((s32[], s32[], f32[2,3]{1,0}) %while), index=0
  %three = s32[] constant(3)
  %again = (s32[], s32[], f32[2,3]{1,0}) tuple(s32[] %three, s32[] %first, f32[2,3]{1,0} %x)
  %second = (s32[], s32[], f32[2,3]{1,0}) while((s32[], s32[], f32[2,3]{1,0}) %again), condition=%condition, body=%body
  ROOT %y = f32[2,3]{1,0} get-tuple-element((s32[], s32[], f32[2,3]{1,0}) %second), index=2
}
"""


def visits(text, opcode):
    found = []

    def visit(computation, instruction, times):
        if instruction.opcode == opcode:
            found.append(times)

    Program(text).walk(visit, into_fusions=True)
    return sorted(found)


def test_a_loop_runs_as_often_as_its_integers_say_also_where_another_loop_gives_its_end():
    """The first goes -1, 1, 3, 5 and ends with 7; the second goes from 3 to there."""
    assert visits(LOOP, "negate") == [2, 4]
    assert visits(LOOP.replace("constant(6)", "constant(8)"), "negate") == [3, 5]
    assert visits(LOOP.replace("constant(6)", "constant(-1)"), "negate") == [0, 0]


def test_what_the_result_does_not_need_is_not_visited():
    assert visits(LOOP, "sine") == []
    assert visits(LOOP.replace("negate(f32[2,3]{1,0} %x)", "negate(f32[2,3]{1,0} %unused)"), "sine") == [2, 4]


def test_the_number_of_iterations_that_xla_notes_is_taken():
    noted = LOOP.replace("body=%body", 'body=%body, backend_config={"known_trip_count":{"n":"12"},"x":{}}')
    assert visits(noted, "negate") == [12, 12]


def test_a_loop_that_depends_on_more_than_integers_is_an_error_that_names_it():
    unknown = LOOP.replace("s32[] constant(6)", "s32[] convert(f32[] %f)").replace(
        "  %end = s32[] convert", "  %f = f32[] sine(s32[] %start)\n  %end = s32[] convert"
    )
    with pytest.raises(BenchmarkError, match=r"^second: the number of iterations of this loop is not known$"):
        visits(unknown, "negate")


def test_names_may_be_printed_without_percent_signs():
    assert visits(LOOP.replace("%", ""), "negate") == [2, 4]


def test_a_text_without_a_program_is_refused():
    with pytest.raises(BenchmarkError, match="no entry"):
        Program("HloModule m\n")
