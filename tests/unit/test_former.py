"""An upgrade is tried from a version that is really there, or not at all."""

import subprocess

import pytest

from tests.former import former


def test_a_clone_without_the_history_fails_and_says_how_to_bring_it(tmp_path):
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    with pytest.raises(pytest.fail.Exception, match="git fetch --unshallow"):
        former(tmp_path, root=tmp_path)


def test_sources_that_are_no_clone_are_skipped(tmp_path):
    with pytest.raises(pytest.skip.Exception, match="no clone"):
        former(tmp_path, root=tmp_path)
