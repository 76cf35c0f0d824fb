"""A restaurant: orders run by themselves while tables are reserved by hand.

Promised: an order is confirmed at once; where the owner talks, the bot does not, and nobody else's order waits for
that; what the owner deletes is gone from the timeline; the away text of the closed kitchen stops no bot.
"""

from services.scenarios.stage import Person, Stage

JORDI, NURIA = Person("Jordi", "34600100041"), Person("Núria", "34600100042")
LATE = (Person("Pol", "34600100043"), Person("Mireia", "34600100044"), Person("Arnau", "34600100045"))
CLOSED = "La cuina ja és tancada. Demà a les 13 h us atenem de nou."
DAY_MINUTES = 24 * 60


async def play(stage: Stage) -> None:
    """Tell the story."""
    await _evening(stage)
    await _midnight(stage)


async def _evening(stage: Stage) -> None:
    stage.scene("Friday evening. Jordi orders from the catalogue.")
    order = await stage.customer(JORDI, "Sense ceba, si us plau", kind="order", minutes_ago=5)

    async def is_an_order() -> bool:
        return (await stage.message(JORDI, order)).get("kind") == "order"

    await stage.check("the order is on the timeline, with its items", is_an_order)
    confirmation = await stage.send(JORDI, "Comanda rebuda: 2 SKU-7, 60 €. Llesta en 25 minuts.")
    await stage.check_outcome("and confirmed by itself", confirmation)

    stage.scene("Núria wants a table. The owner answers on the phone, gets the number wrong, and deletes that.")
    await stage.customer(NURIA, "Bona tarda! Teniu taula per a quatre a les nou?", minutes_ago=5)
    wrong = await stage.owner(NURIA, "Fet: taula per a cinc a les 21 h.")
    await stage.owner_deletes(wrong)
    await stage.owner(NURIA, "Perdó: taula per a quatre a les 21 h.")

    async def is_gone() -> bool:
        shown = await stage.message(NURIA, wrong)
        return bool(shown.get("revoked_at")) and not shown["content"]

    await stage.check("what was deleted is gone from the timeline", is_gone)
    menu = await stage.send(NURIA, "Voleu veure la carta?")
    await stage.check_outcome("the bot leaves Núria to the owner", menu, "withdrawn: taken_over")

    stage.scene("Meanwhile Jordi asks again.")
    await stage.customer(JORDI, "Quant falta?")
    status = await stage.send(JORDI, "Deu minuts. Us avisem quan surti.")
    await stage.check_outcome("and is answered at once", status)


async def _midnight(stage: Stage) -> None:
    stage.scene("Midnight. The kitchen is closed, and the Business App says so to everybody by itself.")
    told = {}
    for who in LATE:
        await stage.customer(who, "Gràcies per ahir!", minutes_ago=DAY_MINUTES)
        await stage.customer(who, "Encara esteu oberts?", seconds_ago=20)
        told[who] = await stage.app_itself(who, CLOSED, seconds_ago=17)

    async def nobody_is_taken_over() -> bool:
        because = [(await stage.message(who, told[who])).get("automatic_because") for who in LATE]
        owners = [(await stage.conversation(who))["owner"] for who in LATE]
        return because == ["repeated_text"] * len(LATE) and "person_app" not in owners

    await stage.check("after the third time it is known for an away text, the first two included", nobody_is_taken_over)
    wish = await stage.send(LATE[0], "Vols encarregar per a demà? Respon SÍ.")
    await stage.check_outcome("and the bot may still help", wish)
