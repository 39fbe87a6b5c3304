"""Words that stand before a colon in the texts of one writer, where in a chat the name of an author stands."""

from __future__ import annotations

import re

_LABELS = frozenset(
    """
    q a f question answer questions answers note notes nb n.b ps p.s pps todo to-do done tip tips hint warning
    caution important example examples e.g i.e update edit edited fyi tl;dr tldr summary conclusion result results
    idea ideas goal goals plan plans task tasks step steps chapter scene act part section page line day week month
    year round lesson exercise problem solution proof theorem definition remark pro pros con cons advantage
    disadvantage before after monday tuesday wednesday thursday friday saturday sunday mon tue wed thu fri sat sun
    january february march april may june july august september october november december morning noon afternoon
    evening night today yesterday tomorrow breakfast lunch dinner supper snack brunch tea date time place location
    where when who what why how mood weather temperature sleep food work school home dream dreams thoughts feeling
    feelings gratitude grateful highlight lowlight good bad better best worst high low rose thorn bud subject title
    author from to cc bcc re fwd source sources url link links tags tag category ingredients ingredient method
    directions serves prep name age address phone email price total front back term meaning english german french
    spanish word translation verse chorus bridge intro outro refrain meeting agenda attendees decision decisions
    action actions next status version changed added removed fixed frage antwort fragen antworten notiz notizen
    hinweis achtung wichtig beispiel tipp merke zusammenfassung fazit ziel montag dienstag mittwoch donnerstag
    freitag samstag sonntag heute gestern morgen morgens mittags abends nachts frühstück mittagessen abendessen
    wetter stimmung arbeit zutaten zubereitung titel betreff datum ort tag woche kapitel pregunta respuesta nota
    ejemplo consejo hoy ayer mañana lunes martes miércoles jueves viernes sábado domingo desayuno almuerzo cena
    título fecha lugar p r réponse remarque exemple conseil aujourd'hui hier demain lundi mardi mercredi jeudi
    vendredi samedi dimanche déjeuner dîner titre lieu domanda risposta esempio oggi ieri domani colazione pranzo
    """.split()
)
_BEFORE_A_TIME = frozenset(
    "at on from until till by since around um bis ab gegen seit vers depuis las desde hasta alle".split()
)


def is_label(name: str) -> bool:
    """Whether a name is such a word, with or without a number: "Q", "Note", "Day 3", "Frage 12", "1"."""
    bare = re.sub(r"[\s#.]*\d*[\s.)]*$", "", name.strip().casefold())
    return not bare or bare in _LABELS or bare.split()[-1] in _BEFORE_A_TIME
