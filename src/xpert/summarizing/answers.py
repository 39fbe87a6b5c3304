"""From a model's free answer ("1. Vibrant colors\n2. moody and dark") to the style words in it, and to plain captions.

Knows English wording only; never sees a model or a picture. A phrase gives its last word that looks like an adjective,
else its single words. What is denied ("not realistic", "less sharp") names nothing.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence

from xpert.models.thoughts import without_thoughts
from xpert.space.words import merge_candidates, normalise

_MARKS = re.compile(r"</?[a-z|_][^<>\n]*>|[*`\"“”„«»_#]+", re.IGNORECASE)
_MONOCHROME = re.compile(r"\bblack(?:\s*-?\s*and\s*-?\s*|\s*[-&/]\s*)white\b", re.IGNORECASE)
_LINES = re.compile(r"[\n\r]+|[.!?](?=\s|$)|(?<![\w.])\(?\d+[.):](?=\s|$)")
_EXPLAINING = re.compile(r":|\s[-–—]+(?=\s)|—")
_ITEMS = re.compile(r"[,;/&|•·+()\[\]{}，、；]|\s(?:and|or|but|yet|with|while)\s", re.IGNORECASE)
_COMPARING = re.compile(r"\b(?:than|compared (?:to|with)|instead of|as opposed to)\b", re.IGNORECASE)
_WORD = re.compile(r"[^\W\d_]+(?:-[^\W\d_]+)*(?:['’][^\W\d_]+)?")
_DENIED = frozenset("no not without less least fewer neither nor never lacks lacking cannot".split())
_HALVES = frozenset("high low".split())
_OTHER = frozenset(
    # what the question speaks of, and the frame of a sentence around the answer
    "adjective adjectives answer answers characteristic characteristics describe describes describing description "
    "difference differences difficult different feature features following given image images keyword keywords list "
    "photo photograph phrase phrases picture pictures quality single-word stylistic trait traits word words first "
    "second third one two both appear appears are been being can could does feel feels has hard have here how its "
    "look looks looking may might seem seems show showing shows some such sure that there they this tell unable "
    "used uses using well would yes compared comparison characterized overall "
    # how much
    "bit clearly extremely fairly highly much quite rather really several slightly somewhat strongly too very "
    # what a style is said of
    "aesthetic aesthetics appearance atmosphere background brushstrokes color coloring colors colour colouring colours "
    "composition contrast detail details edges effect effects elements feeling hue hues lighting lines mood "
    "palette rendering saturation scene shading shadows shapes subject texture textures tone tones vibe".split()
)
_ADJECTIVE = re.compile(
    r"(?:ful|y|ic|al|ous|ive|ed|ing|ish|less|ar|ary|ory|ant|ent|able|ible|ist|esque|like|ern|ese|ine|ate|id|ier)$"
)
_LIKE_ADJECTIVES = frozenset(
    "drawing etching painting photography poetry pottery painter printing filter paper".split()
)
_ADJECTIVES = frozenset(
    "abstract baroque bold bright calm clean cool crisp dark deep dense dim dull faded flat harsh loose muted neon "
    "noir plain pure raw red blue green gold grey gray black white brown pink purple orange rich rough sepia sharp "
    "simple smooth soft stark strong surreal vague warm weird wild".split()
)
_LONGEST_PHRASE = 3
_OPENING = re.compile(
    r"^(?:(?:the|this|an?|in the|in this) )?(?:image|picture|photo|photograph|scene)"
    r"(?: (?:shows|depicts|features|displays|contains|captures|portrays|is of|of|showing|depicting))[ :]+",
    re.IGNORECASE,
)


def words_of(answer: str) -> list[str]:
    """The distinct style words that an answer names, normalised, in its order."""
    text = unicodedata.normalize("NFKC", without_thoughts(answer))
    text = _MONOCHROME.sub("black-and-white", _MARKS.sub(" ", text))
    found = [word for line in _LINES.split(text) for word in _line(line)]
    return list(dict.fromkeys(found))


def shares(answers: Sequence[Sequence[str]]) -> list[tuple[str, float]]:
    """Each word's share among all words of all answers, a word counted once an answer; most probable first."""
    total = sum(len(words) for words in answers)
    return merge_candidates((word, 1 / total) for words in answers for word in words)


def plain_caption(answer: str) -> str:
    """The first sentence of an answer on one line, without quotes, its full stop and "The image shows"."""
    paragraph = re.split(r"\n\s*\n", without_thoughts(answer).strip(), maxsplit=1)[0]
    line = re.split(r"(?<=[.!?])\s", " ".join(paragraph.split()), maxsplit=1)[0]
    return _OPENING.sub("", line.strip(" \"'“”*`")).rstrip(" .,;\"'“”*`")


def whole_part(answer: str) -> str:
    """An answer that was cut off, without its last item, which may be half a word; one item alone stays."""
    cut = max(answer.rfind(mark) for mark in ",;\n")
    return answer[:cut] if cut > 0 else answer


def _line(line: str) -> list[str]:
    """Words of one line; of "Vivid: its colours glow" the head, of "Adjectives: vivid" the tail."""
    parts = _EXPLAINING.split(line)
    named = [[word for item in _ITEMS.split(part) for word in _phrase(item)] for part in parts]
    if all(len(_WORD.findall(item)) <= 2 for part in parts for item in _ITEMS.split(part)):
        return [word for words in named for word in words]
    return next((words for words in named if words), [])


def _phrase(item: str) -> list[str]:
    """Words of one item, such as "a more vibrant palette" or "hand-drawn"."""
    tokens = [token.casefold() for token in _WORD.findall(_COMPARING.split(item)[0])]
    if any(token in _DENIED or token.endswith(("n't", "n’t")) for token in tokens):
        return []
    words = [_plain(word) for word in map(normalise, _joined(tokens)) if word is not None and word not in _OTHER]
    fitting = [word for word in words if _is_adjective(word)]
    if len(words) > 1 and fitting:
        return fitting[-1:]
    return words if len(words) <= _LONGEST_PHRASE else []


def _joined(tokens: Sequence[str]) -> Iterator[str]:
    """Tokens without contractions; "high contrast" is one word: its halves say nothing alone."""
    half = ""
    for token in tokens:
        if "'" in token or "’" in token:
            token = re.split("['’]", token)[0] if token.endswith(("'s", "’s")) else ""
        if half:
            token, half = f"{half}-{token}", ""
        elif token in _HALVES:
            half, token = token, ""
        if token:
            yield token


def _plain(word: str) -> str:
    """ "brighter" as "bright": the question asks for what the second has more of."""
    return word[:-2] if word.endswith("er") and word[:-2] in _ADJECTIVES else word


def _is_adjective(word: str) -> bool:
    if word in _LIKE_ADJECTIVES:
        return False
    return word in _ADJECTIVES or "-" in word or _ADJECTIVE.search(word) is not None
