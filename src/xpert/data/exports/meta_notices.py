"""The sentences that Instagram and Messenger put where somebody sent no words, in several languages.

Knows text only. What a person could well have written ("You called me.") is no notice.
"""

from __future__ import annotations

import re

_YOU = ("You", "Du", "Vous", "Tu", "Has", "Hai", "Você", "Je", "U", "Ty", "Вы")
_SENT = re.compile(
    "|".join(
        (
            r"(?:sent|shared) (?:an attachment|a (?:photo|video|link|post|reel|story|GIF|sticker|file))\.",
            r"(?:sent|shared) a (?:voice message|(?:live )?location)\.",
            r"sent \d+ (?:photos|videos|attachments)\.",
            r"(?:hast|hat) (?:einen (?:Anhang|Link|Beitrag|Standort)|ein (?:Foto|Video)|eine Sprachnachricht|\d+ Fotos)"
            r" (?:gesendet|geteilt|verschickt)\.",
            r"(?:avez|as|a) envoyé (?:une pièce jointe|une photo|une vidéo|un lien)\.",
            r"(?:ha )?(?:enviado|envió) (?:un archivo adjunto|una foto|un v[ií]deo|un enlace)\.",
            r"(?:ha )?inviato (?:un allegato|una foto|un video|un link)\.",
            r"enviou (?:um anexo|uma foto|um vídeo|um link)\.",
            r"(?:hebt|heeft) een (?:bijlage|foto|video|link) (?:verzonden|gestuurd)\.",
            r"(?:wysłał\(a\)|wysłał|wysłała) (?:załącznik|zdjęcie|film|link)\.",
            r"отправил(?:и|а|\(а\))? (?:вложение|фото|видео|ссылку)\.",
            r"(?:started|joined) (?:an audio|a video|the|a) (?:call|chat)\.?",
            r"missed (?:a|your)(?: video| audio)? (?:call|chat) from [^\n]{1,100}\.",
            r"(?:added [^\n]{1,100} to|removed [^\n]{1,100} from|left|joined|created|named) the group\b[^\n]{0,200}",
            r"(?:changed the (?:group photo|theme|chat theme)|set the (?:nickname for|quick reaction to|emoji to))"
            r"[^\n]{0,200}",
            r"unsent a message\.?",
        )
    )
)
_BY_NAME = re.compile(
    r"called (?:you|the group)\.|missed your(?: video)? call\.|pinned a message\.|created a poll\b[^\n]{0,200}"
    r"|(?:hat|hast) (?:dich|die Gruppe) angerufen\.|hat deinen Anruf verpasst\.|turned (?:on|off) [^\n]{1,200}"
)
_ALONE = re.compile(
    "|".join(
        (
            r"(?:Liked a message|Gefällt (?:eine|deine) Nachricht|A aimé un message|Le gustó un mensaje)\.?",
            r"(?:Le ha gustado un mensaje|Mi piace un messaggio|Ha messo mi piace a un messaggio)\.?",
            r"(?:Curtiu uma mensagem|Vindt een bericht leuk|Понравилось сообщение)\.?",
            r"Hat (?:eine|deine) Nachricht mit „Gefällt mir“ markiert\.?",
            r"Reacted [^\n]{1,40} to (?:your|a|their) message\.?",
            r"Hat (?:mit )?[^\n]{1,40} auf (?:deine|eine) Nachricht reagiert\.?",
            r"A réagi [^\n]{1,40} à (?:votre|ton|un) message\.?",
            r"Reaccionó con [^\n]{1,40} a (?:tu|un) mensaje\.?",
            r"Ha reagito con [^\n]{1,40} al tuo messaggio\.?",
            r"Reagiu com [^\n]{1,40} à sua mensagem\.?",
            r"Enviaste (?:un archivo adjunto|una foto|un v[ií]deo|un enlace)\.",
            r"(?:User unsent a message|Failed to download media|(?:The v|V)ideo chat ended)\.?",
            r"(?:Message unavailable|This poll is no longer available|You are now connected on Messenger)\.?",
            r"You can now message and call each other[^\n]{0,100}",
            r"Say hi to your new (?:Facebook friend|connection)[^\n]{0,100}",
            r"This message is no longer available[^\n]{0,100}",
        )
    )
)


def is_notice(text: str, author: str) -> bool:
    """True for a sentence of the program about its sender ("Mia sent an attachment.")."""
    if _ALONE.fullmatch(text):
        return True
    if author and text.startswith(f"{author} "):
        doing = text[len(author) + 1 :]
        return bool(_SENT.fullmatch(doing) or _BY_NAME.fullmatch(doing))
    start, _, doing = text.partition(" ")
    return start in _YOU and _SENT.fullmatch(doing) is not None
