"""A chat log is a conversation: one author's messages are read, each with the message of somebody else before it."""

from __future__ import annotations

from pathlib import Path

import pytest

from xpert.data import read_samples
from xpert.errors import DataError
from xpert.records import Sample

ASKED, ANSWER = "Are you coming?", "Yes!\nI bring cake"

WHATSAPP = {
    "android_us": (
        "12/31/24, 9:05 PM - Messages and calls are end-to-end encrypted. Tap to learn more.\n"
        "12/31/24, 9:06 PM - Wen: Are you coming?\n"
        "12/31/24, 9:07 PM - Mia: Yes!\n"
        "I bring cake\n"
        "12/31/24, 9:08 PM - Wen: <Media omitted>\n"
    ),
    "nnbsp": ("12/31/24, 9:05\u202fPM - Wen: Are you coming?\n12/31/24, 9:07\u202fPM - Mia: Yes!\nI bring cake\n"),
    "de": (
        "31.12.24, 21:05 - Wen: Are you coming?\n"
        "31.12.24, 21:07 - Mia: Yes!\n"
        "I bring cake\n"
        "31.12.24, 21:08 - Wen: <Medien ausgeschlossen>\n"
        "31.12.24, 21:09 - Wen: Diese Nachricht wurde gelöscht.\n"
    ),
    "iso": "2024-12-31 21:05 - Wen: Are you coming?\n2024-12-31 21:07 - Mia: Yes!\nI bring cake\n",
    "isocomma": ("2024-12-31, 9:05 p. m. - Wen: Are you coming?\n2024-12-31, 9:07 p. m. - Mia: Yes!\nI bring cake\n"),
    "es": (
        "31/12/24, 9:05 p.\u00a0m. - Wen: Are you coming?\n"
        "31/12/24, 9:07 p.\u00a0m. - Mia: Yes!\n"
        "I bring cake\n"
        "31/12/24, 9:08 p. m. - Wen: <Multimedia omitido>\n"
        "31/12/24, 9:08 p. m. - Wen: Se eliminó este mensaje.\n"
    ),
    "fr": (
        "31/12/2024 à 21:05 - Wen: Are you coming?\n"
        "31/12/2024 à 21:07 - Mia: Yes!\n"
        "I bring cake\n"
        "31/12/2024 à 21:08 - Wen: <Médias omis>\n"
    ),
    "de_um": "31.12.24 um 21:05 - Wen: Are you coming?\n31.12.24 um 21:07 - Mia: Yes!\nI bring cake\n",
    "ios": (
        "\u200e[14.10.21, 15:34:09] Wen: \u200eMessages and calls are end-to-end encrypted.\n"
        "[14.10.21, 15:35:01] Wen: Are you coming?\n"
        "[14.10.21, 15:35:59] Mia: Yes!\n"
        "I bring cake\n"
        "\u200e[14.10.21, 15:36:02] Wen: \u200eimage omitted\n"
        "[14.10.21, 15:36:03] Wen: \u200eThis message was deleted.\n"
    ),
    "ios_us": (
        "[12/31/24, 9:05:01\u202fPM] Wen: Are you coming?\n"
        "[12/31/24, 9:07:01\u202fPM] Mia: Yes!\n"
        "I bring cake\n"
        "[12/31/24, 9:07:01\u202fPM] Mia: \u200eGIF omitted\n"
    ),
    "ios_edit": (
        "[12/31/24, 9:05:01\u202fPM] Wen: Are you coming?\n"
        "[12/31/24, 9:07:01\u202fPM] Mia: Yes!\n"
        "I bring cake \u200e<This message was edited>\n"
    ),
    "android_edit": (
        "12/31/24, 21:05 - Wen: Are you coming?\n12/31/24, 21:07 - Mia: Yes!\nI bring cake <This message was edited>\n"
    ),
    "arabic": (
        "٣١\u200f/١٢\u200f/٢٠٢٤، ٩:٠٥ م - Wen: Are you coming?\n"
        "٣١\u200f/١٢\u200f/٢٠٢٤، ٩:٠٧ م - Mia: Yes!\n"
        "I bring cake\n"
        "٣١\u200f/١٢\u200f/٢٠٢٤، ٩:٠٨ م - Wen: <تم استبعاد الوسائط>\n"
    ),
    "arabic_ios": (
        "[٣١\u200f/١٢\u200f/٢٠٢٤, ٩:٠٥:٠٠ م] Wen: Are you coming?\n"
        "[٣١\u200f/١٢\u200f/٢٠٢٤, ٩:٠٧:٠٠ م] Mia: Yes!\n"
        "I bring cake\n"
    ),
    "cn": (
        "2024/12/31 下午9:05 - Wen: Are you coming?\n"
        "2024/12/31 下午9:07 - Mia: Yes!\n"
        "I bring cake\n"
        "2024/12/31 下午9:08 - Wen: <省略多媒體檔案>\n"
    ),
    "kr": ("2024. 12. 31. 오후 9:05 - Wen: Are you coming?\n2024. 12. 31. 오후 9:07 - Mia: Yes!\nI bring cake\n"),
    "kr2": (
        "2024년 12월 31일 오후 9:05 - Wen: Are you coming?\n2024년 12월 31일 오후 9:07 - Mia: Yes!\nI bring cake\n"
    ),
    "dk": "31.12.2024 21.05 - Wen: Are you coming?\n31.12.2024 21.07 - Mia: Yes!\nI bring cake\n",
    "nl": (
        "31-12-2024 21:05 - Wen: Are you coming?\n"
        "31-12-2024 21:07 - Mia: Yes!\n"
        "I bring cake\n"
        "31-12-2024 21:08 - Wen: <Media weggelaten>\n"
        "31-12-2024 21:08 - Wen: Dit bericht is verwijderd\n"
    ),
    "hu": ("2024. 12. 31. 21:05 - Wen: Are you coming?\n2024. 12. 31. 21:07 - Mia: Yes!\nI bring cake\n"),
    "old": ("9:05 PM, 12/31/2016 - Wen: Are you coming?\n9:07 PM, 12/31/2016 - Mia: Yes!\nI bring cake\n"),
    "attached": (
        "31.12.24, 21:05 - Wen: Are you coming?\n"
        "31.12.24, 21:07 - Mia: \u200eIMG-20241231-WA0001.jpg (Datei angehängt)\n"
        "Yes!\n"
        "I bring cake\n"
        "31.12.24, 21:08 - Wen: PTT-1.opus (Datei angehängt)\n"
    ),
    "ios_attached": (
        "[31.12.24, 21:05:01] Wen: Are you coming?\n"
        "[31.12.24, 21:07:01] Mia: Yes!\n"
        "I bring cake \u200e<attached: 00000012-PHOTO-2024.jpg>\n"
        "\u200e[31.12.24, 21:08:01] Mia: \u200e<attached: 00000013-PHOTO-2024.jpg>\n"
    ),
    "notices": (
        '12/31/24, 21:00 - Wen created group "Party: 2024"\n'
        "12/31/24, 21:00 - Wen added Mia\n"
        "12/31/24, 21:05 - Wen: Are you coming?\n"
        '12/31/24, 21:06 - Wen changed the subject from "Party: 2024" to "Trip: Rome"\n'
        "12/31/24, 21:07 - Mia: Yes!\n"
        "I bring cake\n"
        "12/31/24, 21:08 - Missed voice call\n"
        "12/31/24, 21:08 - Your security code with Wen changed. Tap to learn more.\n"
    ),
    "phone": ("12/31/24, 21:05 - +49 170 1234567: Are you coming?\n12/31/24, 21:07 - Mia: Yes!\nI bring cake\n"),
    "crlf": ("12/31/24, 21:05 - Wen: Are you coming?\r\n12/31/24, 21:07 - Mia: Yes!\r\nI bring cake\r\n"),
}

LOGS = {
    "irc": ("[12:34] <Wen> Are you coming?\n[12:35] <Mia> Yes!\n[12:35] <Mia> I bring cake\n[12:36] *** Wen left\n"),
    "irssi": ("12:34 <@Wen> Are you coming?\n12:35 < Mia> Yes!\n12:35 < Mia> I bring cake\n12:36 -!- Wen has quit\n"),
    "irc_date": (
        "2024-01-01 12:34:56 <Wen> Are you coming?\n"
        "2024-01-01 12:35:01 <Mia> Yes!\n"
        "2024-01-01 12:35:02 <Mia> I bring cake\n"
    ),
    "weechat": (
        "2024-01-01 12:34:56\t@Wen\tAre you coming?\n"
        "2024-01-01 12:35:01\tMia\tYes!\n"
        "2024-01-01 12:35:02\tMia\tI bring cake\n"
        "2024-01-01 12:36\t-->\tZoe has joined\n"
    ),
    "signal": "[2024-01-01 12:34] Wen: Are you coming?\n[2024-01-01 12:35] Mia: Yes!\nI bring cake\n",
    "signal2": ("[Jan 1, 2024 9:05 PM] Wen: Are you coming?\n[Jan 1, 2024 9:06 PM] Mia: Yes!\nI bring cake\n"),
    "timeonly": "[12:34:56] Wen: Are you coming?\n[12:35:01] Mia: Yes!\nI bring cake\n",
    "pidgin": "(12:34:56) Wen: Are you coming?\n(12:35:01) Mia: Yes!\nI bring cake\n",
    "name_stamp": "Wen (12:34): Are you coming?\nMia (12:35): Yes!\nI bring cake\n",
    "name_stamp2": "Wen [2024-01-01 12:34]: Are you coming?\nMia [2024-01-01 12:35]: Yes!\nI bring cake\n",
    "tg_copy": "Wen, [01.01.24 12:34]\nAre you coming?\n\nMia, [01.01.24 12:35]\nYes!\nI bring cake\n",
    "tg_copy2": (
        "Wen, [1 Jan 2024 at 12:34:00]:\nAre you coming?\n\nMia, [1 Jan 2024 at 12:35:00]:\nYes!\nI bring cake\n"
    ),
    "discord_copy": "Wen — Today at 9:05 PM\nAre you coming?\nMia — Today at 9:06 PM\nYes!\nI bring cake\n",
    "dce_txt": (
        "==============================================================\n"
        "Guild: X\n"
        "Channel: general\n"
        "==============================================================\n"
        "\n"
        "[31-Dec-23 09:05 PM] Wen\n"
        "Are you coming?\n"
        "\n"
        "[31-Dec-23 09:06 PM] Mia\n"
        "Yes!\n"
        "I bring cake\n"
        "\n"
        "==============================================================\n"
        "Exported 2 message(s)\n"
    ),
    "slack_copy": "Wen  9:05 AM\nAre you coming?\nMia  9:06 AM\nYes!\nI bring cake\n",
    "skype": ("[01.01.2024 12:34:56] Wen: Are you coming?\n[01.01.2024 12:35:00] Mia: Yes!\nI bring cake\n"),
    "zoom": ("12:34:56 From Wen to Everyone: Are you coming?\n12:35:00 From Mia to Everyone: Yes!\nI bring cake\n"),
    "imexp": (
        "May 17, 2022  5:29:42 PM\n"
        "Wen\n"
        "Are you coming?\n"
        "\n"
        "May 17, 2022  5:30:42 PM (Read by Wen)\n"
        "Mia\n"
        "Yes!\n"
        "I bring cake\n"
        "\n"
        "May 17, 2022  5:31:42 PM\n"
        "Wen\n"
        "ok\n"
        "\n"
        "May 17, 2022  5:32:42 PM\n"
        "Mia\n"
        "fine\n"
    ),
    "bare": "Wen: Are you coming?\nMia: Yes!\nMia: I bring cake\nWen: ok\n",
    "plain_dt": "2024-01-01 12:34 Wen: Are you coming?\n2024-01-01 12:35 Mia: Yes!\nI bring cake\n",
}


def write(path: Path, text: str) -> Path:
    path.write_bytes(text.encode())
    return path


@pytest.mark.parametrize("suffix", [".txt", ".md", "", ".log"])
@pytest.mark.parametrize("name", [*WHATSAPP, *LOGS])
def test_a_chat_log_gives_the_messages_of_one_author(tmp_path: Path, name: str, suffix: str) -> None:
    file = write(tmp_path / f"chat{suffix}", {**WHATSAPP, **LOGS}[name])
    mine = read_samples(file, me="mia")
    assert mine[0].prompt is not None and mine[0].prompt.endswith(ASKED)
    assert "\n".join(sample.response for sample in mine).startswith(ANSWER)
    assert all(sample.response in (ANSWER, "fine") for sample in mine), "notices and stand-ins are nobody's words"
    assert read_samples(file, me="MIA", format="text") == mine
    with pytest.raises(DataError, match=r"authors \(.*Mia: \d.*say which one you are with --me NAME"):
        read_samples(file)
    with pytest.raises(DataError, match=r"no message of 'Zoe'; its authors are .*Mia: \d"):
        read_samples(file, me="Zoe")


def whatsapp(*messages: str) -> str:
    return "".join(f"31.12.24, 21:{minute:02} - {message}\n" for minute, message in enumerate(messages))


@pytest.mark.parametrize(
    "written",
    [
        "<Media omitted>",
        "<Medien ausgeschlossen>",
        "<Multimedia omitido>",
        "<Médias omis>",
        "<Media omessi>",
        "<Arquivo de mídia oculto>",
        "<Media weggelaten>",
        "<Medya dahil edilmedi>",
        "<Без медиафайлов>",
        "<メディアは含まれていません>",
        "\u200eimage omitted",
        "image omitted",
        "\u200eBild weggelassen",
        "\u200eimagen omitida",
        "\u200eimmagine omessa",
        "\u200eafbeelding weggelaten",
        "\u200eвидео пропущено",
        "\u200e图像已忽略",
        "IMG-20241231-WA0001.jpg (file attached)",
        "\u200ePTT-20241231-WA0001.opus (Datei angehängt)",
        "\u200e<attached: 00000012-PHOTO-2024-12-31.jpg>",
        "\u200e<Anhang: 00000012-PHOTO-2024-12-31.jpg>",
        "This message was deleted",
        "You deleted this message",
        "Diese Nachricht wurde gelöscht.",
        "Du hast diese Nachricht gelöscht.",
        "Se eliminó este mensaje.",
        "Ce message a été supprimé",
        "Questo messaggio è stato eliminato",
        "Mensagem apagada",
        "Dit bericht is verwijderd",
        "Bu mesaj silindi",
        "Данное сообщение удалено",
        "تم حذف هذه الرسالة",
        "このメッセージは削除されました",
        "\u200eMissed voice call",
        "Missed video call",
        "null",
        "location: https://maps.google.com/?q=1,2",
        "\u200ePOLL:\nWhat to eat?\n\u200eOPTION: Cake (3 votes)",
        "Waiting for this message. This may take a while.",
    ],
)
def test_what_the_program_writes_in_place_of_a_message_is_nobodys_text(tmp_path: Path, written: str) -> None:
    chat = whatsapp("Wen: Hello", "Mia: Hi", f"Mia: {written}", "Wen: Cake?", f"Wen: {written}", "Mia: Sure")
    file = write(tmp_path / "chat.txt", chat)
    assert read_samples(file, me="Mia") == [Sample("Hello", "Hi"), Sample("Cake?", "Sure")]


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("See you <This message was edited>", "See you"),
        ("See you \u200e<This message was edited>", "See you"),
        ("See you <Diese Nachricht wurde bearbeitet.>", "See you"),
        ("See you \u200e<Se editó este mensaje.>", "See you"),
        ("See you <Ce message a été modifié>", "See you"),
        ("See you \u200e<attached: 00000012-PHOTO.jpg>", "See you"),
        ("See you \u200eimage omitted", "See you"),
        ("IMG-1.jpg (file attached)\nSee you", "See you"),
        ("I was omitted", "I was omitted"),
        ("Das ist weit entfernt", "Das ist weit entfernt"),
        ("<3 you", "<3 you"),
        ("a < b and b > c", "a < b and b > c"),
        ("Note: buy milk", "Note: buy milk"),
        ("https://example.org: nice", "https://example.org: nice"),
        ("one\n\ntwo", "one\n\ntwo"),
        ("👩\u200d🚀 off", "👩\u200d🚀 off"),
    ],
)
def test_what_a_person_writes_stays(tmp_path: Path, written: str, said: str) -> None:
    file = write(tmp_path / "chat.txt", whatsapp("Wen: Hello", f"Mia: {written}", "Wen: Bye"))
    assert read_samples(file, me="Mia") == [Sample("Hello", said)]


@pytest.mark.parametrize(
    "name", ["Mia", "Mia: work", "+49 170 1234567", "~\u202fMia", "Dr. Mia S. (home)", "米娅", "Mia 🌧"]
)
def test_names_hold_colons_numbers_and_marks(tmp_path: Path, name: str) -> None:
    chat = whatsapp("Wen: Hello", f"{name}: Hi", "Wen: And?", f"{name}: Fine")
    file = write(tmp_path / "chat.txt", chat)
    assert read_samples(file, me=name.replace("\u202f", " ")) == [Sample("Hello", "Hi"), Sample("And?", "Fine")]
    with pytest.raises(DataError, match="Wen: 2"):
        read_samples(file)


def test_notices_with_a_colon_are_no_author(tmp_path: Path) -> None:
    chat = whatsapp(
        'Wen created group "Party: now"',
        "Wen: Hello",
        'Mia changed the subject from "Party: now" to "Trip: Rome"',
        "Mia: Hi",
    )
    with pytest.raises(DataError, match=r"2 authors \(Wen: 1, Mia: 1\)"):
        read_samples(write(tmp_path / "chat.txt", chat))


def test_messages_in_a_row_are_one_text_and_media_part_them(tmp_path: Path) -> None:
    chat = whatsapp("Wen: Hello", "Wen: You?", "Mia: Hi", "Mia: Fine", "Wen: <Media omitted>", "Mia: Nice cat")
    file = write(tmp_path / "chat.txt", chat)
    assert read_samples(file, me="Mia") == [Sample("Hello\nYou?", "Hi\nFine"), Sample(None, "Nice cat")]


def test_the_only_one_who_wrote_text_need_not_be_the_person(tmp_path: Path) -> None:
    file = write(tmp_path / "chat.txt", whatsapp("Wen: Hello", "Mia: <Media omitted>", "Wen: Nice cat"))
    with pytest.raises(DataError, match=r"2 authors \(Wen: 2, Mia: 0\)"):
        read_samples(file)
    assert [sample.response for sample in read_samples(file, me="Wen")] == ["Hello", "Nice cat"]


def test_one_author_of_a_folder_of_chats_and_notes(tmp_path: Path) -> None:
    write(tmp_path / "a.txt", whatsapp("Wen: Hello", "Mia: Hi", "Wen: Bye"))
    write(tmp_path / "b.txt", "I like rain.\n\nAnd tea.")
    write(tmp_path / "c.txt", whatsapp("Zoe: Tea?", "Mia: Please", "Zoe: Here"))
    assert [sample.response for sample in read_samples(tmp_path, me="Mia")] == [
        "Hi",
        "I like rain.",
        "And tea.",
        "Please",
    ]
    with pytest.raises(DataError, match="3 authors"):
        read_samples(tmp_path)


@pytest.mark.parametrize(
    ("chat", "me"),
    [
        ("User: Hi\nAssistant: Hello, what now?\nUser: Tea\nand cake\nAssistant: Fine", "user"),
        ("You said:\nHi\n\nChatGPT said:\nHello, what now?\n\nYou said:\nTea\nand cake", "you"),
        ("**You:** Hi\n\n**Claude:** Hello, what now?\n\n**You:** Tea\nand cake", "You"),
        ("#### You:\nHi\n\n#### ChatGPT:\nHello, what now?\n\n#### You:\nTea\nand cake", "You"),
    ],
)
def test_a_talk_with_an_assistant(tmp_path: Path, chat: str, me: str) -> None:
    file = write(tmp_path / "chat.md", chat)
    assert read_samples(file, me=me) == [Sample(None, "Hi"), Sample("Hello, what now?", "Tea\nand cake")]
    with pytest.raises(DataError, match="2 authors"):
        read_samples(file)
