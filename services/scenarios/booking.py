"""A hotel: the bot confirms a booking, and the front desk changes it by hand at the last minute.

Promised: the guest never reads two answers that contradict each other; the change is on the timeline, corrected as
the receptionist corrected it; once the desk gives the conversation back, the bot goes on.
"""

from services.scenarios.stage import Person, Stage

GUEST = Person("Grace", "34600100021")
CONFIRMED = "Booking 4711 is confirmed: room 112, from the 12th to the 14th."
OLD_NEWS = "Please mind that check-in closes at 20:00."


async def play(stage: Stage) -> None:
    """Tell the story."""
    stage.scene("A guest books, and the booking tool confirms by itself.")
    await stage.customer(GUEST, "Hi! A double room from the 12th to the 14th, please.", minutes_ago=40)
    confirmation = await stage.send(GUEST, CONFIRMED)
    await stage.check_outcome("the booking is confirmed within moments", confirmation)

    stage.scene("The flight is late. The receptionist answers from the phone at the desk.")
    await stage.customer(GUEST, "Our flight is late, we will be there at 23:00.")
    change = await stage.owner(GUEST, "No problem, the night porter has your key. You are in room 203 now.")
    reminder = await stage.send(GUEST, OLD_NEWS)

    async def stays_away() -> bool:
        shown = [one["content"].get("body") for one in await stage.phone(GUEST)]
        return await stage.outcome(reminder) == "withdrawn: taken_over" and OLD_NEWS not in shown

    await stage.check("the bot's reminder does not contradict the receptionist", stays_away)

    stage.scene("Wrong room. The receptionist corrects the message.")
    await stage.owner_edits(change, "No problem, the night porter has your key. You are in room 204 now.")

    async def is_corrected() -> bool:
        return "204" in str((await stage.message(GUEST, change)).get("content"))

    await stage.check("the timeline says what the guest reads", is_corrected)

    stage.scene("The desk gives the conversation back.")
    await stage.desk(GUEST, "release")

    async def is_the_bots() -> bool:
        return bool((await stage.conversation(GUEST))["owner"] == "bot")

    await stage.check("the conversation is the bot's again", is_the_bots)
    welcome = await stage.send(GUEST, "Your key is at the desk. Breakfast is from 7:30.")
    await stage.check_outcome("and the bot goes on", welcome)
