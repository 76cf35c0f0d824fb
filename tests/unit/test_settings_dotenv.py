"""A `.env` file: quotes, comments, and lines that are no settings."""

import pytest

from services.settings import SettingsError, load


def read(tmp_path, text):
    path = tmp_path / ".env"
    path.write_text(text)
    return load({}, path)


@pytest.mark.parametrize(
    "line", ["COEXIST_META_APP_ID=12 # my app", 'COEXIST_META_APP_ID="12"  # my app', "export COEXIST_META_APP_ID='12'"]
)
def test_quotes_and_comments_are_no_part_of_a_value(tmp_path, line):
    assert read(tmp_path, f"# mine\n\n{line}\n").meta_app_id == "12"


def test_a_line_that_is_no_setting_is_refused_by_its_number(tmp_path):
    with pytest.raises(SettingsError, match="Line 2"):
        read(tmp_path, "COEXIST_PORT=9000\nthis is nonsense\n")
