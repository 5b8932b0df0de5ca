"""The losses of seeded float32 runs never change by accident: bit for bit on the machine that wrote the reference."""

import json

import numpy as np
import pytest

from tests.support.seeded_losses import REFERENCE_FILE, cases, folder_digest, machine, train_case

REFERENCE = json.loads(REFERENCE_FILE.read_text())
IN_SUITE = ("gru_frozen",)  # the others take minutes


@pytest.fixture(scope="module")
def folder(sample_records, pooled, trunk, tmp_path_factory):
    """The records and features of the reference, made by the jobs with the options that it was made with."""
    folder = tmp_path_factory.mktemp("seeded")
    for name, made in (("records", sample_records), ("pooled", pooled), ("trunk", trunk)):
        (folder / name).symlink_to(made)
    return folder


@pytest.fixture(scope="module")
def with_maps(folder, sample_records):
    from tests.conftest import extracted

    extracted(sample_records, folder / "map", "map")
    return folder


def check(name, folder):
    losses, expected = train_case(name, cases()[name], folder), REFERENCE["losses"][name]
    if machine() == REFERENCE["machine"]:
        assert losses == expected
    else:  # another processor or TensorFlow rounds otherwise
        np.testing.assert_allclose(losses, expected, rtol=1e-3)


def test_records_of_the_sample_are_the_bytes_of_the_reference(sample_records):
    """On every machine: Pillow's version is part of the description, and so of the reference."""
    described = json.loads((sample_records / "dataset.json").read_text())
    if described["settings"]["pillow_version"] != REFERENCE["pillow_version"]:
        pytest.skip(f"needs Pillow {REFERENCE['pillow_version']}: pip install pillow=={REFERENCE['pillow_version']}")
    assert folder_digest(sample_records) == REFERENCE["data"]["records"]


@pytest.mark.parametrize("name", IN_SUITE)
def test_the_losses_of_seeded_steps_are_those_of_the_reference(name, folder):
    check(name, folder)


@pytest.mark.slow
@pytest.mark.parametrize("decoder", ["gru", "attention", "transformer"])
def test_the_losses_of_every_decoder_variant_and_objective_are_those_of_the_reference(decoder, with_maps):
    for name in cases():
        if name.startswith(decoder) and not (with_maps / name).exists():
            check(name, with_maps)
