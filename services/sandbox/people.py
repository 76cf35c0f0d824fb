"""Who lives in the sandbox and what they say: invented people in Spain, three languages."""

from __future__ import annotations

FIRST_NAMES = (
    "Laia", "Jordi", "Núria", "Pau", "Montserrat", "Arnau", "Lucía", "Álvaro", "Begoña", "Iñaki", "Sofía",
    "Martín", "Mireia", "Oriol", "Ainhoa", "Grace", "Tom", "Zoë", "Rubén", "Carme",
)  # fmt: skip
FAMILY_NAMES = (
    "Puig", "Serra", "Vidal", "Roca", "Ferrer", "García", "Muñoz", "Peña", "Ibáñez", "Etxeberria", "Walsh",
    "Ribó", "Solé", "Núñez", "Camps", "Ocaña",
)  # fmt: skip

CUSTOMER_LINES = {
    "ca": (
        "Bon dia! Teniu la jaqueta en vermell?",
        "A quina hora obriu demà?",
        "Perfecte, moltes gràcies 😊",
        "Puc recollir-la dissabte al matí?",
        "Quant costa l'enviament a Girona?",
        "Us he enviat el comprovant, l'heu rebut?",
    ),
    "es": (
        "¡Hola! ¿Tenéis talla 38?",
        "¿Cuánto tarda el envío a Logroño?",
        "Genial, me lo quedo 👍",
        "¿Se puede cambiar si no me va bien?",
        "Llego en 10 minutos / estoy aparcando",
        "Mañana paso a recogerlo, ¿vale?",
    ),
    "en": (
        "Hi, is the blue one still available?",
        "Do you ship to Ireland?",
        "Great, thank you!",
        "Could you hold it for me until Friday?",
        "I think my order is missing an item",
        "What's your return policy?",
    ),
}
APP_LINES = {
    "ca": (
        "Sí! Te la guardo.",
        "Obrim de 10 a 20 h.",
        "Perfecte, fins dissabte!",
        "L'enviament són 4,95 €.",
        "Rebut, gràcies!",
        "Ara t'ho miro.",
    ),
    "es": (
        "¡Sí! Te la guardo.",
        "Llega en 24/48 h.",
        "Claro, tienes 15 días para cambiarlo.",
        "Perfecto, aquí estamos.",
        "Recibido, ¡gracias!",
        "Ahora mismo lo miro.",
    ),
    "en": (
        "Yes, it is! I'll keep it for you.",
        "We do, €9.90.",
        "Of course, until Friday then.",
        "Let me check, one moment.",
        "You have 15 days to return it.",
        "Thank you! See you soon.",
    ),
}
LANGUAGES = ("ca", "es", "en")
