"""What a file is by its first bytes, and what is done when it is not what it was said to be."""

import pytest

from services.media.type import ANY_TYPE, believed, family

JPEG, PNG, PDF, OGG = b"\xff\xd8\xff\xe0\0\x10JFIF", b"\x89PNG\r\n\x1a\n\0", b"%PDF-1.7\n", b"OggS\0\2"
MP4, WEBP, ZIP, OLE = (
    b"\0\0\0\x18ftypmp42",
    b"RIFF\x20\0\0\0WEBPVP8 ",
    b"PK\x03\x04\x14",
    b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
)
AAC, MP3, AMR = b"\xff\xf1\x50\x80", b"\xff\xfb\x90\x64", b"#!AMR\n"
PAGE, PROGRAM = b"\xef\xbb\xbf \n<!DOCTYPE html><script>", b"MZ\x90\0"
DOCX = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"


@pytest.mark.parametrize(
    ("kind", "declared", "head"),
    [
        ("image", "image/jpeg", JPEG),
        ("image", "image/png", PNG),
        ("sticker", "image/webp", WEBP),
        ("video", "video/mp4", MP4),
        ("video", "video/3gpp", b"\0\0\0\x14ftyp3gp4"),
        ("audio", "audio/ogg; codecs=opus", OGG),
        ("audio", "audio/mpeg", MP3),
        ("audio", "audio/mpeg", b"ID3\x03\0"),
        ("audio", "audio/aac", AAC),
        ("audio", "audio/amr", AMR),
        ("audio", "audio/mp4", MP4),
        ("document", "application/pdf", PDF),
        ("document", "application/pdf", b"\0" * 100 + PDF),
        ("document", DOCX, ZIP),
        ("document", "application/msword", OLE),
        ("document", "text/plain", b"hola"),
        ("document", "text/html", PAGE),
        ("document", "application/x-unheard-of", b"\x01\x02"),
        ("image", "image/heic", b"\0\0\0\x18ftypheic"),
    ],
)
def test_what_looks_like_its_type_keeps_it(kind, declared, head):
    assert believed(kind, declared, head) == declared


@pytest.mark.parametrize("head", [PAGE, PROGRAM, PDF, PNG, b"", b"sandbox"])
@pytest.mark.parametrize(
    ("kind", "declared"), [("image", "image/jpeg"), ("audio", "audio/ogg"), ("video", "video/mp4")]
)
def test_an_image_audio_or_video_that_is_something_else_is_refused(kind, declared, head):
    assert believed(kind, declared, head) is None


@pytest.mark.parametrize("head", [PAGE, PROGRAM])
def test_a_page_or_a_program_under_an_unheard_of_type_of_image_is_refused(head):
    assert believed("image", "image/x-unheard-of", head) is None


@pytest.mark.parametrize(("declared", "head"), [("application/pdf", PAGE), (DOCX, b"plain"), ("image/jpeg", PROGRAM)])
def test_a_document_that_is_something_else_is_kept_without_the_claim(declared, head):
    assert believed("document", declared, head) == ANY_TYPE


def test_nothing_declared_is_any_type():
    assert believed("document", "", b"?") == ANY_TYPE


def test_bytes_that_say_nothing_have_no_family():
    assert [family(head) for head in (b"", b"\xff", b"RIFF\0\0\0\0", b"hola")] == ["", "", "", ""]
