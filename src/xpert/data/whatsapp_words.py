"""What WhatsApp writes in place of a message: stand-ins for media, deleted messages, calls. Knows words only."""

from __future__ import annotations

import re

_OMITTED = (
    r"omitted|weggelassen|ausgeschlossen|entfernt|omitid[oa]s?|omesso|omess[aei]|omise?s?|absente?s?|ocultad[oa]s?|"
    r"ocult[oa]s?|weggelaten|dahil edilmedi|utelämnad|utelämnat|udeladt|utelatt|jätetty pois|pominięt[oaye]|"
    r"vynechán\w*|kihagyva|omis[ăe]?|tidak disertakan|disertakan|опущен\w*|пропущен\w*|вилучено|παραλείφθηκε|dihapus|"
    r"استبعاد\w*|حذف شد|הושמט\w*|忽略|省略|含まれていません|생략됨"
)
_MEDIA = (
    r"image|photo|picture|video|audio|gif|sticker|document|file|contact card|voice message|video note|view once|media|"
    r"bild|foto|dokument|kontaktkarte|sprachnachricht|videonachricht|imagen|vídeo|documento|tarjeta de contacto|"
    r"nota de|vidéo|fiche contact|autocollant|immagine|adesivo|scheda contatto|imagem|figurinha|cartão de contato|"
    r"áudio|afbeelding|contactkaart|görüntü|ses|belge|çıkartma|obraz|zdjęcie|wideo|naklejka|dźwięk|dokument|kontakt|bilde|"
    r"billede|lyd|ljud|klistermärke|kuva|ääni|tarra|asiakirja|obrázek|zvuk|nálepka|kép|hang|matrica|imagine|gambar|"
    r"stiker|dokumen|изображение|фото|видео|аудио|стикер|документ|зображення|відео|аудіо|εικόνα|βίντεο|ήχος|έγγραφο|"
    r"صورة|فيديو|صوت|ملصق|مستند|تصویر|عکس|תמונה|סרטון|שמע|מסמך|סטיקר|图像|图片|圖片|影片|视频|音频|音訊|贴图|貼圖|"
    r"文档|文件|画像|動画|音声|ステッカー|書類|이미지|동영상|오디오|스티커|문서|사진"
)
_STANDS = (
    r"<(?=[^<>\n]*(?:[^\x00-\u024f]|\b(?:medi|medy|méd|míd|multim|omit|omis|omes|ocult|entfernt|attach|view once|video|"
    r"audio|sticker|document|arquivo de m)))[^<>\n]{3,80}>"
    r"|[^\n/\\<>]{1,200}\.\w{2,5}[ \u00a0]\([^()\n]{4,40}\)"
    r"|null|(?:live )?location shared|"
    r"[^\W\d_]{2,20}(?: [^\W\d_]{2,20}){0,2}(?:[ \u00a0]?[:：])? ?"
    r"https://(?:maps\.google\.com/\?q=|foursquare\.com/v/)\S+|"
    r"POLL:|UMFRAGE:|ENCUESTA:|SONDAGE :|SONDAGGIO:|ENQUETE:"
)
STAND_IN = re.compile(
    rf"(?:{_MEDIA})(?:[ \u00a0]\S+){{0,2}}[ \u00a0]?(?:{_OMITTED})\S*|(?:{_OMITTED})[ \u00a0]?(?:{_MEDIA})|{_STANDS}",
    re.IGNORECASE,
)
"""One line that stands for media: "image omitted", "<Medien ausgeschlossen>", "IMG-1.jpg (file attached)"."""

ATTACHED = re.compile(r"\s{0,3}\u200e?<[^<>:\n]{3,25}[ \u00a0]?:[ \u00a0][^<>\n]{1,200}\.\w{2,5}>")
"""A file inside a message, as on iOS: "<attached: 00000012-PHOTO.jpg>"."""

EDITED = re.compile(
    r"\s{0,3}\u200e?<[^<>\n]{0,60}(?:edited|bearbeitet|edit[óoa]|editad[oa]|modifi|bewerkt|düzenlen|измен|відредагован|edytowan|"
    r"redigera|rediger|muokat|upraven|szerkeszt|disunting|diedit|chỉnh sửa|επεξεργ|تعديل|נערכה|ערכת|ویرایش|編集|수정|"
    r"编辑|編輯|संपादित)[^<>\n]{0,60}>\s*$",
    re.IGNORECASE,
)
"""What stands behind a message that was edited."""

TAIL = re.compile(r"[ \u00a0]{0,3}\u200e([^\u200e\n]{3,80})$")
"""The last part of a line that the program wrote: its own words begin with a left-to-right mark."""

LOOSE_STAND_IN = re.compile(rf"(?:\S+[ \u00a0]){{0,4}}\S*(?:{_OMITTED})\S*|{_STANDS}", re.IGNORECASE)
"""The same, of any words, where a mark says that they are the program's."""

_DELETED = (
    "this message was deleted",
    "you deleted this message",
    "diese nachricht wurde gelöscht",
    "du hast diese nachricht gelöscht",
    "se eliminó este mensaje",
    "este mensaje se eliminó",
    "este mensaje fue eliminado",
    "este mensaje ha sido eliminado",
    "has eliminado este mensaje",
    "eliminaste este mensaje",
    "ce message a été supprimé",
    "vous avez supprimé ce message",
    "tu as supprimé ce message",
    "questo messaggio è stato eliminato",
    "hai eliminato questo messaggio",
    "messaggio eliminato",
    "mensagem apagada",
    "essa mensagem foi apagada",
    "esta mensagem foi apagada",
    "esta mensagem foi eliminada",
    "você apagou esta mensagem",
    "você apagou essa mensagem",
    "apagou esta mensagem",
    "eliminou esta mensagem",
    "dit bericht is verwijderd",
    "u hebt dit bericht verwijderd",
    "je hebt dit bericht verwijderd",
    "bu mesaj silindi",
    "bu mesajı sildiniz",
    "данное сообщение удалено",
    "это сообщение удалено",
    "сообщение удалено",
    "вы удалили данное сообщение",
    "вы удалили это сообщение",
    "це повідомлення видалено",
    "ви видалили це повідомлення",
    "ta wiadomość została usunięta",
    "wiadomość została usunięta",
    "usunięto tę wiadomość",
    "usunąłeś tę wiadomość",
    "det här meddelandet togs bort",
    "det här meddelandet raderades",
    "du tog bort det här meddelandet",
    "du raderade det här meddelandet",
    "denne besked blev slettet",
    "du slettede denne besked",
    "denne meldingen ble slettet",
    "du slettet denne meldingen",
    "tämä viesti poistettiin",
    "poistit tämän viestin",
    "tato zpráva byla odstraněna",
    "tato zpráva byla smazána",
    "tuto zprávu jste smazali",
    "ez az üzenet törölve lett",
    "törölted ezt az üzenetet",
    "acest mesaj a fost șters",
    "ova poruka je izbrisana",
    "izbrisali ste ovu poruku",
    "това съобщение бе изтрито",
    "това съобщение беше изтрито",
    "изтрихте това съобщение",
    "táto správa bola odstránená",
    "táto správa bola vymazaná",
    "to sporočilo je bilo izbrisano",
    "ši žinutė buvo ištrinta",
    "see sõnum kustutati",
    "aquest missatge s'ha eliminat",
    "s'ha eliminat aquest missatge",
    "ข้อความนี้ถูกลบแล้ว",
    "ข้อความนี้ถูกลบ",
    "คุณลบข้อความนี้แล้ว",
    "คุณลบข้อความนี้",
    "এই বার্তাটি মুছে ফেলা হয়েছে",
    "আপনি এই বার্তাটি মুছে ফেলেছেন",
    "আপনি এই বার্তাটি মুছেছেন",
    "mesej ini telah dipadamkan",
    "anda memadamkan mesej ini",
    "یہ پیغام حذف کر دیا گیا",
    "ai șters acest mesaj",
    "pesan ini telah dihapus",
    "anda menghapus pesan ini",
    "anda telah menghapus pesan ini",
    "tin nhắn này đã bị xóa",
    "bạn đã xóa tin nhắn này",
    "αυτό το μήνυμα διαγράφηκε",
    "διαγράψατε αυτό το μήνυμα",
    "تم حذف هذه الرسالة",
    "لقد حذفت هذه الرسالة",
    "حذفت هذه الرسالة",
    "הודעה זו נמחקה",
    "מחקת הודעה זו",
    "این پیام حذف شد",
    "شما این پیام را حذف کردید",
    "यह संदेश हटा दिया गया",
    "यह मैसेज डिलीट किया गया",
    "आपने यह मैसेज डिलीट किया",
    "このメッセージは削除されました",
    "このメッセージを削除しました",
    "삭제된 메시지입니다",
    "삭제한 메시지입니다",
    "이 메시지는 삭제되었습니다",
    "此消息已删除",
    "此訊息已刪除",
    "你已删除此消息",
    "你已刪除此訊息",
    "您已刪除此訊息",
    "你删除了这条消息",
)
_CALLS = (
    r"(?:missed )?(?:group )?(?:voice|video) call(?:,.*)?",
    r"verpasster (?:sprach|video)anruf",
    r"llamada (?:perdida|de voz perdida)|(?:video)?llamada perdida",
    r"appel (?:vocal|vidéo) manqué",
    r"chiamata (?:vocale|video) persa|(?:video)?chiamata persa",
    r"(?:chamada|ligação) de (?:voz|vídeo) perdida",
    r"gemiste (?:spraak|audio|video)oproep|(?:audio|video)oproep gemist",
    r"cevapsız (?:sesli|görüntülü) arama",
    r"пропущенный (?:аудио|видео)звонок",
    r"nieodebrane połączenie (?:głosowe|wideo)",
    r"waiting for this message\. this may take a while",
    r"you received a view once (?:message|photo|video).*",
    r"(?:your|this) security code .* changed.*",
    r"messages and calls are end-to-end encrypted.*",
    r"nachrichten und anrufe sind ende-zu-ende-verschlüsselt.*",
    r"los mensajes y las llamadas están cifrados de extremo a extremo.*",
    r"les messages et les appels sont chiffrés de bout en bout.*",
    r"i messaggi e le chiamate sono crittografati end-to-end.*",
    r"as mensagens e as chamadas são protegidas com a criptografia de ponta a ponta.*",
)
NOT_WRITTEN = re.compile(
    "|".join([*map(re.escape, _DELETED), *_CALLS, r"this message was deleted by admin\b.*"]), re.IGNORECASE | re.DOTALL
)
"""A whole message that nobody wrote: it was deleted, a call was missed, the chat is encrypted."""
