"""A boutique's campaign: personal templates in bulk, and a person who goes on with whoever answers.

Promised: everybody gets their own template once; where a person answers in the app, the bot's follow-up is withdrawn;
where nobody did, it goes; and a customer who never wrote cannot be sent a free text.
"""

from typing import Any

from services.scenarios.stage import Person, Stage

LAIA, PAU, MARTA = Person("Laia", "34600100011"), Person("Pau", "34600100012"), Person("Marta", "34600100013")
EVERYBODY = (LAIA, PAU, MARTA)


def template(who: Person) -> dict[str, Any]:
    """The campaign's template with the customer's own name in it."""
    body = {"type": "body", "parameters": [{"type": "text", "text": who.name}]}
    return {
        "type": "template",
        "template": {"name": "order_update", "language": {"code": "es"}, "components": [body]},
    }


async def play(stage: Stage) -> None:
    """Tell the story."""
    stage.scene("Monday morning. The marketing tool sends the new collection to everybody who asked for it.")
    sent = {who: await stage.send(who, template(who), origin="campaign", lane="bulk") for who in EVERYBODY}
    for who in EVERYBODY:

        async def has_one_of_their_own(who: Person = who) -> bool:
            shown = [one for one in await stage.phone(who) if one["side"] == "api"]
            return await stage.outcome(sent[who]) == "accepted" and len(shown) == 1 and who.name in str(shown[0])

        await stage.check(f"{who.name} got one template, with the right name", has_one_of_their_own)

    stage.scene("Laia answers, and the owner picks up the phone before the bot does.")
    await stage.customer(LAIA, "Hola! La tenéis en la talla M?", seconds_ago=30)
    await stage.owner(LAIA, "¡Sí! Te guardo una hasta el sábado.")
    follow_up = await stage.send(LAIA, "¿Te ayudo a elegir talla?")
    await stage.check_outcome("the bot keeps quiet where a person answered", follow_up, "withdrawn: taken_over")

    stage.scene("Pau answers as well, and nobody at the shop has time.")
    await stage.customer(PAU, "Genial, ¿enviáis a Girona?", seconds_ago=30)
    answer = await stage.send(PAU, "Sí, en 24/48 h. El envío son 4,95 €.")
    await stage.check_outcome("the bot answers where nobody else did", answer)

    stage.scene("Marta has said nothing. A free text to her is not allowed, whoever wants to send it.")
    refused = await stage.send(MARTA, "¿Has visto la colección?")
    await stage.check_outcome("what Meta would charge as spam does not leave as a text", refused, "rejected")
