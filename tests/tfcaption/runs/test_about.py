"""What a run directory says of the machine, versions and command that it was trained with."""

from importlib.metadata import version

from tfcaption.runs.about import ABOUT_FILE, About, read_about, write_about


def test_a_trained_run_says_with_what_it_was_trained(trained_run):
    about = read_about(trained_run)
    assert (about.tfcaption, about.tensorflow) == (version("tfcaption"), version("tensorflow"))
    assert about.precision == "float32" and about.device


def test_a_resumed_run_keeps_what_its_first_start_wrote(tmp_path):
    write_about(tmp_path, command="first", device="CPU", precision="float32")
    write_about(tmp_path, command="second", device="GPU", precision="float16")
    assert read_about(tmp_path).command == "first" and read_about(tmp_path).device == "CPU"


def test_nothing_is_known_of_runs_without_the_file_or_with_a_damaged_one(tmp_path):
    assert read_about(tmp_path) == About()
    for content in ("", "[]", '{"device": ', '{"unknown": 1}'):
        (tmp_path / ABOUT_FILE).write_text(content)
        assert read_about(tmp_path) == About()
