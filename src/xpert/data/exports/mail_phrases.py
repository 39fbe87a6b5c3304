"""The phrases of mail programs around quotes and signatures, in many languages, as regular expressions.

Every one is bounded or linear; lines of more than 400 characters are not tried.
"""

from __future__ import annotations

import re


def _any(*phrases: str) -> str:
    return f"(?:{'|'.join(phrases)})"


STARTED = re.compile(
    _any(
        r"(?:On|Op|In|At)\b.* (?:wrote|writes|said|schreef(?: .*)?|geschreven)",
        r"(?:Am|Den|Vom)\b.* schrieb(?: .*)?",
        r"(?:Den|D\.|På|Man|Tir|Ons|Tor|Fre|Lør|Søn|Mån|Tis|Lör|Sön|Ti|Ke|To|Pe|La|Su)\b.* (?:skrev(?: .*)?|kirjoitti)",
        r"(?:Le|Em|El|Il|No dia|A|O)\b.* (?:a écrit|escribió|escreveu|ha scritto)",
        r"(?:Dnia|W dniu)\b.* (?:napisał(?:\(a\)|a)?|pisze|nadesłał)(?: .*)?",
        r"(?:Dne|Dňa)\b.* (?:napsala?(?:\(a\))?|napísala?(?:\(a\))?)(?: .*)?",
        r"(?:在|于).*(?:写道|寫道)",
    )
    + r"\s*[:：]",
    re.IGNORECASE,
)
"""A sentence like "On 3 May 2024, Wen wrote:", which may be wrapped."""

WROTE = re.compile(
    _any(
        r".* (?:написал(?:\(а\)|а|и)?|пишет|пише|написав(?:\(-ла\))?|yazdı|írta|kirjoitti|a scris)(?: .*)?",
        r".* (?:wrote|writes|schrieb|schreef|skrev|a écrit|escribió|escreveu|ha scritto)"
        r"(?: (?:on|am|op|den|le|el|il|em) .*)?",
        r".*(?:写道|寫道|のメール|さんは書きました|님이 작성(?:하였습니다|함)?)",
    )
    + r"\s*[:：]",
    re.IGNORECASE,
)
"""A whole line like "Wen wrote:"."""

DATE_OR_ADDRESS = re.compile(r"\d{1,2}[:.h]\d{2}|\b\d{4}\b|\d{1,2}[./]\d{1,2}|\w@\w|\d{4}年")

SEPARATOR = re.compile(
    r"[>\s]*[-_*=]{2,}\s*"
    + _any(
        "Original[- ]Message",
        "Original Appointment",
        "Forwarded [Mm]essage",
        "Forwarded by .{1,200}",
        "Reply [Mm]essage",
        "Urspr(?:ü|ue)ngliche (?:Nachricht|E-?Mail)",
        "Original[- ]?Nachricht",
        "Weitergeleitete (?:Nachricht|E-?Mail)",
        "Message d['’]origine",
        "Message (?:original|transféré|initial)",
        "Mensaje (?:original|reenviado)",
        "Messaggio (?:originale|inoltrato)",
        "Mensagem (?:original|encaminhada)",
        "Oorspronkelijk bericht",
        "Origineel bericht",
        "Doorgestuurd bericht",
        "Ursprungligt meddelande",
        "Vidarebefordrat meddelande",
        "Oprindelig meddelelse",
        "Videresendt meddelelse",
        "Opprinnelig melding",
        "Alkuperäinen viesti",
        "(?:Wiadomość oryginalna|Oryginalna wiadomość|Wiadomość przekazana)",
        "(?:Původní|Přeposlaná) zpráva",
        "Eredeti üzenet",
        "(?:Исходное|Пересылаемое|Пересланное) сообщение",
        "(?:原始邮件|转发邮件|轉寄郵件|元のメッセージ|転送メッセージ|원본 메시지|전달된 메시지)",
    )
    + r"\s*[-_*=]{2,}\s*",
    re.IGNORECASE,
)
"""A line like "-----Original Message-----"."""

FORWARDED = re.compile(
    _any(
        "Begin forwarded message",
        "Anfang der weitergeleiteten (?:Nachricht|E-?Mail)",
        "Début du message (?:réexpédié|transféré)",
        "Inicio del mensaje reenviado",
        "Inizio (?:del )?messaggio inoltrato",
        "Início da mensagem (?:encaminhada|reencaminhada)",
        "Begin doorgestuurd bericht",
        "Vidarebefordrat brev",
        "Начало переадресованного (?:сообщения|письма)",
    )
    + r"\s*[:：]",
    re.IGNORECASE,
)

RULE = re.compile(r"[_\-=*]{10,}")

_FROM_NAMES = _any(
    "From", "Von", "De", "Da", "Van", "Från", "Fra", "Lähettäjä", "Od", "Feladó", "Kimden", "Gönderen", "От", "Від",
    "发件人", "寄件者", "差出人", "보낸 ?사람",
)  # fmt: skip
_HEADER_NAMES = _any(
    "Sent", "Date", "To", "Subject", "Cc", "Bcc", "Reply-To",
    "Gesendet", "Datum", "An", "Betreff", "Kopie", "Antwort an",
    "Envoyé", "À", "A", "Objet", "Sujet", "Pour", "Copie",
    "Enviado(?: el)?", "Enviada(?: em)?", "Para", "Asunto", "Assunto", "Fecha", "Data", "CC",
    "Inviato", "Oggetto", "Verzonden", "Aan", "Onderwerp", "Skickat", "Till", "Ämne", "Kopia",
    "Sendt", "Dato", "Til", "Emne", "Lähetetty", "Vastaanottaja", "Aihe",
    "Wysłano", "Do", "Temat", "DW", "Odesláno", "Komu", "Předmět", "Elküldve", "Címzett", "Tárgy",
    "Gönderildi", "Tarih", "Kime", "Konu", "Отправлено", "Дата", "Кому", "Тема", "Копия",
    "发送时间", "日期", "收件人", "主题", "抄送", "寄件日期", "收件者", "主旨", "送信日時", "日時", "宛先", "件名",
    "보낸 ?날짜", "날짜", "받는 ?사람", "제목",
)  # fmt: skip
FROM = re.compile(rf"[>\s*_]*{_FROM_NAMES}[\s*_]*[:：]", re.IGNORECASE)
HEADER = re.compile(rf"[>\s*_]*{_HEADER_NAMES}[\s*_]*[:：]", re.IGNORECASE)

SENT_FROM = re.compile(
    _any(
        r"Sent from (?:my |the )?.{1,80}",
        r"Sent (?:via|with|using) .{1,80}",
        r"Get Outlook for .{1,80}",
        r"Gesendet (?:von|mit|aus|über) .{1,80}",
        r"Von (?:meinem|unterwegs|mobil).{0,60} gesendet",
        r"Diese (?:Nachricht|E-?Mail) wurde von .{1,60} gesendet",
        r"Holen Sie sich Outlook für .{1,60}|Outlook für .{1,60} beziehen",
        r"Envoyé (?:de|depuis|à partir de) .{1,80}",
        r"(?:Obtenir|Télécharger) Outlook pour .{1,60}",
        r"Enviado (?:desde|do|de|a partir d[oe]|pelo) .{1,80}",
        r"(?:Obtener|Obter|Obtenha) (?:o )?Outlook para .{1,60}",
        r"Inviato (?:da|dal|con) .{1,80}",
        r"Scarica Outlook per .{1,60}|Ottieni Outlook per .{1,60}",
        r"(?:Verzonden|Verstuurd) (?:vanaf|vanuit|met|via) .{1,80}",
        r"(?:Skickat|Sendt) (?:från|fra|via|med) .{1,80}",
        r"Hämta Outlook för .{1,60}|Hent Outlook (?:til|for) .{1,60}",
        r"Lähetetty .{1,80}",
        r"(?:Wysłane|Wysłano) (?:z|ze) .{1,80}",
        r"Odesláno (?:z|ze|pomocí) .{1,80}",
        r"Отправлено (?:с|из|через) .{1,80}",
        r".{1,30}(?:から送信|より送信)|发自我的.{1,30}|從我的.{1,30}傳送|나의 .{1,30}에서 보냄|내 .{1,30}에서 보냄",
    )
    + r"\.?",
    re.IGNORECASE,
)
"""A whole line that a program adds, like "Sent from my iPhone"."""
