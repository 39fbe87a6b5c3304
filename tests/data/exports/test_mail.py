"""Mail: own words without quotes and signatures, each after the mail that was answered."""

from __future__ import annotations

import base64
import contextlib
import gzip
import time
from collections.abc import Callable
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest

from xpert.data.exports import read_export
from xpert.errors import DataError

MIA, WEN = "Mia Lünd <Mia@example.org>", '"Ito, Wen" <wen@example.org>'
SEPARATOR = b"From x@example.org Mon Jan  1 00:00:00 2024\n"


def mail(
    body: str | bytes,
    sender: str = MIA,
    *,
    subject: str = "Tea",
    headers: dict[str, str] | None = None,
    kind: str = "text/plain; charset=utf-8",
) -> bytes:
    lines = [f"From: {sender}", f"Subject: {subject}", "MIME-Version: 1.0", f"Content-Type: {kind}"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return "\n".join([*lines, "", ""]).encode() + (body.encode() if isinstance(body, str) else body) + b"\n"


def mbox(*mails: bytes) -> bytes:
    return b"".join(SEPARATOR + one + b"\n" for one in mails)


def identified(number: int, *answers: int, day: int | None = None) -> dict[str, str]:
    headers = {"Message-ID": f"<{number}@x>", "Date": f"{day or number} May 2024 10:00:00 +0200"}
    if answers:
        headers |= {"In-Reply-To": f"<{answers[0]}@x>", "References": " ".join(f"<{n}@x>" for n in reversed(answers))}
    return headers


@pytest.fixture
def told(told: Callable[..., Any]) -> Callable[..., Any]:
    """What Mia wrote: mail always asks who the person is."""
    return lambda source, me="mia@example.org": told(source, me)


@pytest.mark.parametrize("name", ["in.mbox", "in.mbx", "Inbox", "in.txt"])
@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_an_mbox_is_cut_into_mails(write: Callable[..., Path], told: Callable[..., Any], name: str, end: bytes) -> None:
    content = mbox(mail("Hello\n\nFrom here on\n>From the start"), mail("Yes.\n", WEN, subject="Re: x"))
    file = write(name, content.replace(b"\n", end))
    assert told(file, "mia@example.org") == [(None, "Hello\n\nFrom here on\nFrom the start")]


@pytest.mark.parametrize("me", ["mia@example.org", "MIA@EXAMPLE.ORG", "Mia Lünd"])
def test_answers_follow_the_mail_that_they_answer(
    write: Callable[..., Path], told: Callable[..., Any], me: str
) -> None:
    mails = [
        mail("Who brings what?", WEN, headers=identified(1)),
        mail("Unrelated", WEN, subject="Other", headers=identified(2)),
        mail("Juice from me", "Noor <noor@example.org>", headers=identified(3, 1)),
        mail("Cake, of course.", headers=identified(4, 1)),
        mail("Lovely!", WEN, headers=identified(5, 4, 1)),
        mail("And to you, Noor: apple?", headers=identified(6, 3, 1)),
        mail("One more thing, Wen.", headers=identified(7, 4, 1)),
    ]
    for order in (mails, mails[::-1]):
        assert sorted(told(write("talk.mbox", mbox(*order)), me), key=str) == [
            ("Juice from me", "And to you, Noor: apple?"),
            ("Who brings what?", "Cake, of course."),
            (None, "One more thing, Wen."),
        ]


def test_a_mail_that_is_answered_twice_counts_once(write: Callable[..., Path], told: Callable[..., Any]) -> None:
    mails = [
        mail("Who brings what?", headers=identified(1)),
        mail("Juice", WEN, headers=identified(2, 1)),
        mail("Cake", "noor@example.org", headers=identified(3, 1)),
        mail("Tea", "noor@example.org", headers=identified(3, 1)),
        mail("Who brings what?", headers=identified(1)),
    ]
    file = write("talk.mbox", mbox(*mails))
    assert told(file, "Mia Lünd") == [(None, "Who brings what?")]
    assert told(file, "wen@example.org") == [("Who brings what?", "Juice")]
    with pytest.raises(DataError, match=r"noor@example\.org: 2, mia@example\.org: 1, wen@example\.org: 1"):
        told(file, None)


@pytest.mark.parametrize("to", ["Mia <mia@example.org>", "mia@example.org, ana@example.org", WEN, None])
@pytest.mark.parametrize("name", ["a.eml", "in.mbox", "Inbox", "resent.mbox", "sent to mia.mbox", "cur/1:2,S"])
def test_one_sender_is_not_taken_for_the_person(
    write: Callable[..., Path], told: Callable[..., Any], name: str, to: str | None
) -> None:
    """The sender of a mail is somebody else than the one who received it."""
    one = mail("Hello", WEN, headers={"To": to} if to else None)
    file = write(name, one if name in ("a.eml", "cur/1:2,S") else mbox(one, one))
    write("new/.keep", "")
    source = file.parent.parent if name == "cur/1:2,S" else file
    with pytest.raises(DataError, match=r"text of 'wen@example\.org' only.*--me NAME"):
        told(source, None)
    assert told(source, "wen@example.org")[0] == (None, "Hello")


@pytest.mark.parametrize(
    "name",
    [
        *"Sent.mbox Sent Sent-1 INBOX.Sent Gesendet.mbox Sent/1.eml .Sent/cur/1 Envoyés.mbox Sent.mbox/mbox".split(),
        *("Sent Mail.mbox", "Sent Items", "Gesendete Objekte.mbox", "sent messages.mbox/mbox"),
    ],
)
def test_a_folder_of_sent_mails_holds_the_words_of_its_sender(
    write: Callable[..., Path], told: Callable[..., Any], tmp_path: Path, name: str
) -> None:
    one = mail("Hello", headers={"To": WEN})
    file = write(name, one if name in ("Sent/1.eml", ".Sent/cur/1") else mbox(one))
    write(".Sent/new/.keep", "")
    source = file.parent if file.name == "mbox" else tmp_path / ".Sent" if name == ".Sent/cur/1" else file
    assert told(source, None) == [(None, "Hello")]


@pytest.mark.parametrize("mark", ["Re: ", "AW: ", "RE: AW: ", "Sv: ", "Re[2]: ", "回复：", "Ответ: "])
def test_without_ids_the_subject_tells_what_is_answered(
    write: Callable[..., Path], told: Callable[..., Any], mark: str
) -> None:
    mails = [mail("Tea?", WEN), mail("Not this", WEN, subject="Teapot"), mail("Always.", subject=f"{mark}Tea")]
    assert told(write("talk.mbox", mbox(*mails)), "Mia Lünd") == [("Tea?", "Always.")]
    fresh = [mail("Tea?", WEN), mail("A new one", subject="Tea")]
    assert told(write("talk.mbox", mbox(*fresh)), "Mia Lünd") == [(None, "A new one")]


QUOTED = [
    "> an old word\n> another",
    "On Fri, May 3, 2024 at 10:00 AM Wen Ito <wen@example.org> wrote:\n\n> an old word",
    "On Fri, May 3, 2024 at 10:00 AM Wen Ito\n<wen@example.org> wrote:\n> an old word",
    "Am 03.05.2024 um 10:00 schrieb Wen Ito:\n> an old word",
    "Am Fr., 3. Mai 2024 um 10:00 Uhr schrieb Wen Ito <\nwen@example.org>:\n\n> an old word",
    "Wen schrieb:\n> an old word",
    "Le ven. 3 mai 2024 à 10:00, Wen Ito <wen@example.org> a écrit :\n> an old word",
    "El vie, 3 may 2024 a las 10:00, Wen (<wen@example.org>) escribió:\n> an old word",
    "Em sex., 3 de mai. de 2024 às 10:00, Wen <wen@example.org> escreveu:\n> an old word",
    "Il giorno ven 3 mag 2024 alle ore 10:00 Wen <wen@example.org> ha scritto:\n> an old word",
    "Op vr 3 mei 2024 om 10:00 schreef Wen <wen@example.org>:\n> an old word",
    "Den fre 3 maj 2024 kl 10:00 skrev Wen <wen@example.org>:\n> an old word",
    "W dniu 03.05.2024 o 10:00, Wen pisze:\n> an old word",
    "Dne 3. 5. 2024 v 10:00 Wen napsal(a):\n> an old word",
    "пт, 3 мая 2024 г. в 10:00, Wen <wen@example.org>:\n> an old word",
    "03.05.2024 10:00, Wen пишет:\n> an old word",
    "2024年5月3日(金) 10:00 Wen <wen@example.org>:\n> an old word",
    "在 2024年5月3日，Wen <wen@example.org> 写道：\n\n> an old word",
    "On 03/05/2024 10:00, Wen Ito wrote:\nan old word without marks\n\nand more of it",
    "-----Original Message-----\nFrom: Wen\nSent: Friday\nan old word",
    "-----Ursprüngliche Nachricht-----\nVon: Wen\nan old word",
    "---------- Forwarded message ---------\nFrom: Wen <wen@example.org>\nan old word",
    "Begin forwarded message:\n\nan old word",
    "Anfang der weitergeleiteten Nachricht:\n\nan old word",
    "From: Wen Ito <wen@example.org>\nSent: Friday, May 3, 2024 10:00\nTo: Mia\nSubject: Tea\n\nan old word",
    "*From:* Wen Ito\n*Date:* Friday\n*To:* Mia\n*Subject:* Tea\nan old word",
    "________________________________\nVon: Wen\nGesendet: Freitag\nAn: Mia\nBetreff: Tee\n\nan old word",
    "De : Wen\nEnvoyé : vendredi\nÀ : Mia\nObjet : Thé\n\nan old word",
    "发件人: Wen\n发送时间: 2024年5月3日\n收件人: Mia\n主题: 茶\n\nan old word",
    "-- \nMia Lünd\nTea Ltd., an old word",
    "--\nMia",
    "Sent from my iPhone",
    "Von meinem iPhone gesendet",
    "Gesendet von Outlook für iOS",
    "Get Outlook for Android<https://aka.ms/x>",
    "Envoyé de mon iPhone",
    "Enviado desde mi iPhone",
    "Inviato da iPhone",
    "Отправлено с iPhone",
    "iPhoneから送信",
    "Sent from my iPhone\n\nOn 3 May 2024, at 10:00, Wen <wen@example.org> wrote:\n\n> an old word",
    "______________________________________\nTea mailing list\nhttps://lists.example.org/an old word",
    "-- \nMia\n\nOn 3 May 2024 Wen wrote:\n> an old word",
    "On 3 May 2024, at 10:00, Wen Ito of the Tea Company\nwith a long name <wen@example.org>\nwrote:\n> an old word",
]


@pytest.mark.parametrize("tail", QUOTED)
def test_quotes_and_signatures_are_cut_off(write: Callable[..., Path], told: Callable[..., Any], tail: str) -> None:
    own = "Yes: three cups.\n\nAs the poet wrote:\ntea is all.\n- one\n- two\n\nBest,\nMia"
    assert told(write("a.eml", mail(f"{own}\n\n{tail}"))) == [(None, own)]


@pytest.mark.parametrize("own", ["Hi Wen,", "On it!", "Am dran", "See below"])
def test_the_line_before_an_announcement_stays(write: Callable[..., Path], told: Callable[..., Any], own: str) -> None:
    for after in (
        "On 3 May 2024, Wen\nwrote:\n> old",
        "On 3 May 2024 Wen wrote:\n\n> old",
        "Am 3.5. schrieb Wen:\n> old",
    ):
        assert told(write("a.eml", mail(f"{own}\n{after}"))) == [(None, own)]


def test_answers_between_quotes_stay(write: Callable[..., Path], told: Callable[..., Any]) -> None:
    body = "Hi Wen,\n\nOn 3 May 2024 Wen wrote:\n> Tea?\nAlways.\n>> older\n> Cake?\n\nAt five.\n"
    assert told(write("a.eml", mail(body))) == [(None, "Hi Wen,\n\nAlways.\n\nAt five.")]


def test_a_mail_without_own_words_is_passed_over(write: Callable[..., Path], told: Callable[..., Any]) -> None:
    mails = [
        mail("Tea?", WEN, headers=identified(1)),
        mail("> Tea?", "noor@example.org", headers=identified(2, 1)),
        mail("Always.", headers=identified(3, 2)),
    ]
    assert told(write("talk.mbox", mbox(*mails)), "Mia Lünd") == [("Tea?", "Always.")]


@pytest.mark.parametrize(
    ("charset", "encoding", "content"),
    [
        ("utf-8", "quoted-printable", b"Caf=C3=A9 um f=\n=C3=BCnf"),
        ("iso-8859-1", "8bit", "Café um fünf".encode("latin-1")),
        ("windows-1252", "base64", base64.b64encode("Café um fünf".encode("cp1252"))),
        ("utf-16", "base64", base64.b64encode("Café um fünf".encode("utf-16"))),
        ("no-such-charset", "8bit", "Café um fünf".encode()),
        ("us-ascii", "8bit", "Café um fünf".encode("latin-1")),
        ("punycode", "8bit", "Café um fünf".encode()),
        ("hex", "8bit", "Café um fünf".encode()),
    ],
)
@pytest.mark.parametrize("name", ["a.eml", "a.mbox"])
def test_every_charset_and_encoding(
    write: Callable[..., Path], told: Callable[..., Any], name: str, charset: str, encoding: str, content: bytes
) -> None:
    one = mail(content, kind=f"text/plain; charset={charset}", headers={"Content-Transfer-Encoding": encoding})
    file = write(name, mbox(one) if name.endswith("mbox") else one)
    assert told(file) == [(None, "Café um fünf")]


@pytest.mark.parametrize(
    ("sender", "author"),
    [
        ("=?utf-8?q?M=C3=ADa?= <mia@example.org>", "mia@example.org"),
        ("=?utf-8?b?TcOtYQ==?= <MIA@Example.ORG>", "mia@example.org"),
        ("mia@example.org (Mía)", "mia@example.org"),
        ("Mía mia@example.org", "mia@example.org"),
        ("=?nonsense?q?x?= <mia@example.org>", "mia@example.org"),
        ("=?utf-8?b?%%%?= <mia@example.org>", "mia@example.org"),
        ("Mía", "Mía"),
        ("", "(unknown sender)"),
    ],
)
def test_the_author_is_the_address(
    write: Callable[..., Path], export_of: Callable[..., Any], sender: str, author: str
) -> None:
    export = export_of(write("a.mbox", mbox(mail("Hi", sender))))
    assert [[one.author for one in talk] for talk in export.conversations] == [[author]]


def test_multipart_mails_give_their_plain_text(write: Callable[..., Path], told: Callable[..., Any]) -> None:
    message = EmailMessage()
    message["From"], message["Subject"], message["To"] = MIA, "Tea", WEN
    message.set_content("The plain words\n")
    message.add_alternative("<p>The <b>HTML</b> words</p>", subtype="html")
    message.add_attachment("not my words", filename="notes.txt")
    message.add_attachment(b"\x89PNG", maintype="image", subtype="png", filename="a.png")
    inner = EmailMessage()
    inner["From"], inner["Subject"] = WEN, "Inner"
    inner.set_content("forwarded as an attachment")
    message.add_attachment(inner)
    assert told(write("a.eml", message.as_bytes())) == [(None, "The plain words")]


def test_long_lines_of_flowed_text_are_joined(write: Callable[..., Path], told: Callable[..., Any]) -> None:
    body = "A line that goes \non here.\nA new one\n -indented\n-- \nMia"
    file = write("a.eml", mail(body, kind="text/plain; charset=utf-8; format=flowed"))
    assert told(file) == [(None, "A line that goes on here.\nA new one\n-indented")]


HTML = [
    ("<div>One</div><div>two</div><div><br></div><div>three &amp; <b>four</b></div>", "One\ntwo\n\nthree & four"),
    ("<p>One\n two</p>\n<p>three<br>four</p>", "One two\n\nthree\nfour"),
    ("<html><head><title>x</title><style>p{}</style></head><body><script>1</script>One</body></html>", "One"),
    ('One<div class="gmail_quote"><div class="gmail_attr">On 3 May Wen wrote:<br></div><blockquote>old</blockquote>',
     "One"),
    ("<div>One</div><div>On 3 May 2024, Wen wrote:</div><blockquote type=cite>old</blockquote><div>After</div>",
     "One\nAfter"),
    ('<p>One</p><div id="appendonsend"></div><hr><div id="divRplyFwdMsg"><b>From:</b> Wen</div><div>old</div>', "One"),
    ("<p>One</p><div style='border-top:solid #E1E1E1 1.0pt'><p><b>From:</b> Wen<br><b>Sent:</b> Friday<br>"
     "<b>To:</b> Mia<br><b>Subject:</b> Tea</p></div><p>old</p>", "One"),
    ('<div>One</div><div class="gmail_signature">Mia Ltd.</div>', "One"),
    ("One<img src='https://spy.example/pixel.gif' alt='spy'><pre>a\n  b</pre>", "One\na\n  b"),
    ("<ul><li>One</li><li>two</li></ul>", "One\ntwo"),
    ("<p>One<p>two<td>three", "One\n\ntwothree"),
    ('<div class="gmail_quote"><blockquote>old</blockquote><div>My answer</div></div>', "My answer"),
    ("<!DOCTYPE html><!-- [if mso]>x<![endif]-->One<![if !vml]> two<![endif]><![ three", "One two three"),
    ("<blockquote>old <blockquote>older</blockquote> old</blockquote></i></div>One", "One"),
    ("<b>unclosed <i>One", "unclosed One"),
]  # fmt: skip


@pytest.mark.parametrize(("html", "expected"), HTML)
def test_mails_of_html_alone(write: Callable[..., Path], told: Callable[..., Any], html: str, expected: str) -> None:
    assert told(write("a.eml", mail(html, kind="text/html; charset=utf-8"))) == [(None, expected)]


@pytest.mark.parametrize(
    ("sender", "headers"),
    [
        (WEN, {"Auto-Submitted": "auto-replied"}),
        (WEN, {"Auto-Submitted": "auto-generated; x"}),
        (WEN, {"X-Autoreply": "yes"}),
        (WEN, {"Precedence": "bulk"}),
        (WEN, {"Return-Path": "<>"}),
        ("no-reply@shop.example", {}),
        ("Shop <noreply+5@shop.example>", {}),
        ("MAILER-DAEMON@example.org", {}),
        ("newsletter@shop.example", {}),
    ],
)
def test_automatic_mails_are_left_out(
    write: Callable[..., Path], told: Callable[..., Any], sender: str, headers: dict[str, str]
) -> None:
    assert told(write("a.mbox", mbox(mail("I am a machine", sender, headers=headers), mail("I am not")))) == [
        (None, "I am not")
    ]


def test_folders_of_mails(write: Callable[..., Path], told: Callable[..., Any], tmp_path: Path) -> None:
    first, second = mail("Tea?", WEN, headers=identified(1)), mail("Always.", headers=identified(2, 1))
    write("eml/b.eml", first)
    write("eml/a.EML", second)
    write("eml/photo.jpg", b"\xff\xd8")
    write("maildir/cur/1700000000.M1P1.host:2,S", second)
    write("maildir/new/1700000001.M1P1.host", first)
    write("maildir/tmp/1700000002.M1P1.host", mail("unfinished"))
    write("takeout/Inbox.mbox", mbox(first))
    write("takeout/Sent.mbox", mbox(second))
    write("Archive.mbox/mbox", mbox(first, second))
    write("bird/Inbox", mbox(first))
    write("bird/Inbox.msf", "index")
    write("bird/Sent", mbox(second))
    write("bird/Sent.msf", "index")
    for folder in ("eml", "maildir", "takeout", "Archive.mbox", "bird"):
        assert told(tmp_path / folder, "mia lünd") == [("Tea?", "Always.")], folder


def test_apple_mail_puts_a_length_before_and_a_list_after(write: Callable[..., Path], told: Callable[..., Any]) -> None:
    one = mail("Hello")
    file = write("1.emlx", b"%d      \n" % len(one) + one + b'<?xml version="1.0"?><plist>flags</plist>')
    assert told(file) == [(None, "Hello")]


def test_compressed_mail_comes_as_text(tmp_path: Path) -> None:
    path = tmp_path / "a.mbox.gz"
    path.write_bytes(gzip.compress(mbox(mail("Hello"))))
    export = read_export(path, gzip.decompress(path.read_bytes()).decode())
    assert export is not None and export.conversations[0][0].text == "Hello"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("notes.txt", b"From: my diary\n\nDear diary"),
        ("notes.txt", b"From here on\nall is well: yes"),
        ("notes.md", b"To: do\nFrom: me\nSubject: tea\n\nx"),
        ("a.jsonl", b'{"text": "From: x"}'),
        ("a.csv", b"From: x,Subject: y\na,b\n"),
        ("a.eml", b"just words"),
        ("a.bin", bytes(range(256))),
        ("a.txt", "Von: mir\nü".encode("latin-1")),
    ],
)
def test_other_files_are_no_mail(
    write: Callable[..., Path], export_of: Callable[..., Any], name: str, content: bytes
) -> None:
    assert export_of(write(name, content)) is None


NEST = b"".join(b'Content-Type: multipart/mixed; boundary="b%d"\n\n--b%d\n' % (n, n) for n in range(3000))
HOSTILE = {
    "headers without end": b"From: a@b\n" + b"X-A: b\n" * 20_000,
    "one endless header": b"From: a@b\nSubject: " + b"x" * 2_000_000 + b"\n\nHi",
    "an endless parameter": b"From: a@b\nMIME-Version: 1.0\nContent-Type: text/plain;"
    + b' a=";";' * 200_000
    + b"\n\nHi",
    "nested comments": b"From: " + b"(" * 50_000 + b"\nSubject: x\n\nHi",
    "nested parts": b"From: a@b\nMIME-Version: 1.0\n" + NEST,
    "nested mails": b"From: a@b\nSubject: x\n" + b"Content-Type: message/rfc822\n\n" * 3000,
    "no boundary": b"From: a@b\nSubject: x\nContent-Type: multipart/mixed\n\nHi",
    "broken base64": b"From: a@b\nSubject: x\nContent-Transfer-Encoding: base64\n\n====\n\xff",
    "broken uuencode": b"From: a@b\nSubject: x\nContent-Transfer-Encoding: x-uuencode\n\nbegin 666 a\n!!!\n",
    "a broken charset": b"From: a@b\nSubject: =?\xff?q?=?=\nContent-Type: text/plain; charset*=%ff'%'%E2\n\nHi",
    "a date beyond time": b"From: a@b\nSubject: x\nDate: Fri, 99 May 999999 99:99:99 +999999\n\nHi",
    "a circle": b"From: a@b\nSubject: x\nMessage-ID: <1>\nIn-Reply-To: <1>\n\nHi",
    "zero bytes": b"From: a@b\nSubject: x\n\nH\0i\0",
    "deep html": b"From: a@b\nSubject: x\nContent-Type: text/html\n\n" + b"<div>" * 50_000 + b"Hi",
    "open html": b"From: a@b\nSubject: x\nContent-Type: text/html\n\n" + b"<a <!-- </ <![" * 60_000,
    "deep quotes": b"From: a@b\nSubject: x\nContent-Type: text/html\n\n" + b"<blockquote>" * 20_000 + b"Hi",
    "lines that announce": b"From: a@b\nSubject: x\n\n" + b"On a wrote wrote wrote wrote\n" * 20_000,
    "long lines": b"From: a@b\nSubject: x\n\n" + (b"On " + b"wrote " * 50_000 + b":\n") * 5,
    "many From lines": b"From a 2024\nA: b\n\n" * 20_000,
}


@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_mail_ends_soon_and_without_a_traceback(
    write: Callable[..., Path], export_of: Callable[..., Any], what: str
) -> None:
    file, start = write("a.eml", HOSTILE[what]), time.process_time()
    with contextlib.suppress(DataError):
        export_of(file)
    assert time.process_time() - start < 15
