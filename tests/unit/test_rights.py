"""Rights requests written in a chat, in Spanish, Catalan and English: tagged, with a month to answer."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echo_sync.rights import ANSWER_WITHIN_S, asked, close, right_in
from tests.harness import NUMBER, message, phone

T = 1_790_000_000.0


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("Por favor, borren todos mis datos", "erasure"),
        ("Quiero que eliminéis mis mensajes y mi número", "erasure"),
        ("Ejerzo mi derecho de supresión", "erasure"),
        ("Vull que esborreu les meves dades", "erasure"),
        ("Exerceixo el dret de supressió", "erasure"),
        ("Please delete all my data", "erasure"),
        ("I invoke my right to be forgotten", "erasure"),
        ("Qué datos tenéis de mí?", "access"),
        ("Envieu-me una còpia de les meves dades", "access"),
        ("Quiero una copia de mis datos", "access"),
        ("What data do you hold about me?", "access"),
        ("Segons el RGPD", "other"),
        ("Iré a la AEPD", "other"),
        ("derecho de oposición", "other"),
        ("Teniu la jaqueta en vermell?", ""),
        ("Borra lo que te dije, mejor el jueves", ""),
        ("Can you delete my order?", ""),
        ("Hola, mi número de pedido es 44", ""),
    ],
)
def test_words_call_upon_a_right(text, right):
    assert right_in(text) == right
    found = asked(message("wamid.A", phone("34600111222"), T, says=text))
    assert (found.right if found else "") == right


def test_a_request_says_when_it_is_due_and_nothing_of_the_message():
    found = asked(message("wamid.A", phone("34600111222"), T, says="Please delete all my data"))
    assert (found.asked_at, found.due_at, found.number) == (T, T + ANSWER_WITHIN_S, NUMBER)
    assert "34600111222" not in repr(found)
    assert "delete" not in repr(found)


def test_an_answered_request_stays_answered_by_whoever_was_first():
    found = asked(message("wamid.A", phone("34600111222"), T, says="RGPD"))
    once = close(found, "anna", T + 5)
    assert (close(once, "pere", T + 9).closed_at, close(once, "pere", T + 9).closed_by) == (T + 5, "anna")


@given(st.text(max_size=200))
def test_any_text_is_judged_without_trouble(text):
    assert right_in(text) in ("", "erasure", "access", "other")
