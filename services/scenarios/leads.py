"""An estate agency: the bot qualifies people, and an agent takes over the one who wants to buy.

Promised: the app's own greeting stops nobody; the bot asks and understands the button that was pressed; with the agent
the bot is quiet, for that person alone.
"""

from typing import Any

from services.scenarios.stage import Person, Stage

SOFIA, TOM = Person("Sofía", "34600100031"), Person("Tom", "34600100032")
GREETING = "¡Hola! Gracias por escribir a Finca Nord. Enseguida le atendemos."


def question(text: str, *answers: str) -> dict[str, Any]:
    """A question with buttons."""
    buttons = [{"type": "reply", "reply": {"id": f"a{n}", "title": title}} for n, title in enumerate(answers)]
    interactive = {"type": "button", "body": {"text": text}, "action": {"buttons": buttons}}
    return {"type": "interactive", "interactive": interactive}


async def play(stage: Stage) -> None:
    """Tell the story."""
    stage.scene("A new lead. The Business App greets her by itself, two seconds later.")
    await stage.customer(SOFIA, "Hola, he visto el piso de la calle Mayor.", seconds_ago=20)
    greeting = await stage.app_itself(SOFIA, GREETING, seconds_ago=18)

    async def is_a_greeting() -> bool:
        return (await stage.message(SOFIA, greeting)).get("automatic_because") == "greeting"

    await stage.check("the greeting is known for one", is_a_greeting)
    asked = await stage.send(SOFIA, question("¿Busca comprar o alquilar?", "Comprar", "Alquilar"))
    await stage.check_outcome("so the bot asks all the same", asked)
    pressed = await stage.customer(SOFIA, "Comprar", kind="interactive")

    async def understands() -> bool:
        content = (await stage.message(SOFIA, pressed)).get("content", {})
        return str(content.get("button_reply", {}).get("title")) == "Comprar"

    await stage.check("the button she pressed is on the timeline", understands)

    stage.scene("She wants to buy: the CRM gives her to Marta, who takes over for an hour.")
    await stage.desk(SOFIA, "assign", assignee="marta")
    await stage.desk(SOFIA, "takeover", minutes=60, by="marta")

    async def is_martas() -> bool:
        found = await stage.conversation(SOFIA)
        return (found["owner"], found.get("assignee")) == ("agent", "marta")

    await stage.check("the conversation is Marta's", is_martas)
    offer = await stage.send(SOFIA, "Soy Marta. ¿Le va bien verlo mañana a las 10?", origin="agent")
    nosy = await stage.send(SOFIA, question("¿Qué presupuesto tiene?", "Hasta 200.000", "Más"))

    async def only_marta_writes() -> bool:
        return (await stage.outcome(offer), await stage.outcome(nosy)) == ("accepted", "withdrawn: taken_over")

    await stage.check("Marta writes, and the bot's next question is withdrawn", only_marta_writes)

    stage.scene("Tom only asks for the opening hours.")
    await stage.customer(TOM, "Hi, when are you open?", seconds_ago=20)
    answer = await stage.send(TOM, "We are open from 9:00 to 18:00, Monday to Friday.")

    async def bot_answers() -> bool:
        return await stage.outcome(answer) == "accepted" and (await stage.conversation(TOM))["owner"] == "bot"

    await stage.check("with Tom the bot goes on", bot_answers)
