import pytest

from xpert.summarizing.answers import plain_caption, shares, whole_part, words_of


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ("vibrant, moody, dark", ["vibrant", "moody", "dark"]),
        ("Vibrant,moody;Dark", ["vibrant", "moody", "dark"]),
        ("1. Vibrant\n2. Moody\n3) Dark", ["vibrant", "moody", "dark"]),
        ("1. Vibrant 2. Moody 3. Dark", ["vibrant", "moody", "dark"]),
        ("- Vibrant\n* Moody\n• Dark", ["vibrant", "moody", "dark"]),
        ("Vibrant and moody.", ["vibrant", "moody"]),
        ("vibrant, moody, and dark.", ["vibrant", "moody", "dark"]),
        ("\"vibrant\", 'moody', “dark”", ["vibrant", "moody", "dark"]),
        ("['vibrant', 'moody']", ["vibrant", "moody"]),
        ("**Vibrant**: the colors are rich\n**Moody**: there are deep shadows", ["vibrant", "moody"]),
        ("1. Vibrant - the colors are rich\n2. Moody – deep shadows all over", ["vibrant", "moody"]),
        ("Adjectives: vibrant, moody", ["vibrant", "moody"]),
        ("Sure! Here are some adjectives that describe the second image:\n\nvibrant\nmoody", ["vibrant", "moody"]),
        ("The second image appears more vibrant than the first image.", ["vibrant"]),
        ("vibrant colors, soft lighting, a dreamlike quality", ["vibrant", "soft", "dreamlike"]),
        ("very dark, highly detailed, much more painterly", ["dark", "detailed", "painterly"]),
        ("dark moody atmosphere", ["moody"]),
        ("watercolor style, oil painting", ["watercolor", "oil", "painting"]),
        ("brighter, warmer tones, bright", ["bright", "warm"]),
        ("high contrast, low-key, High-Contrast", ["high-contrast", "low-key"]),
        ("black and white, Black & White, black-and-white", ["black-and-white"]),
        ("hand-drawn, Impressionist, cinematic", ["hand-drawn", "impressionist", "cinematic"]),
        ("not realistic, less sharp, no shadows, isn't dark, grainy", ["grainy"]),
        ("VIBRANT, Vibrant, vibrant colours", ["vibrant"]),
        ("warm (golden), muted/pastel", ["warm", "golden", "muted", "pastel"]),
        ("Color palette: muted\nLighting: dramatic", ["muted", "dramatic"]),
        ("- Vibrant - Moody - Dark", ["vibrant", "moody", "dark"]),
        ("<think>It is not grim, or is it?</think>vibrant, moody<|im_end|>", ["vibrant", "moody"]),
        ("éthéré, ｖｉｂｒａｎｔ", ["éthéré", "vibrant"]),
        ("There is no difference between the two images.", []),
        ("I'm sorry, I cannot see the pictures.", []),
        ("3D, 4k, ???, the, of", []),
        ("", []),
    ],
)
def test_words_of_an_answer(answer: str, words: list[str]) -> None:
    assert words_of(answer) == words


def test_shares_sum_to_one_and_are_sorted() -> None:
    found = shares([["moody", "dark"], ["dark"], [], ["airy"]])
    assert found == [("dark", 0.5), ("airy", 0.25), ("moody", 0.25)]
    assert shares([[], []]) == []


@pytest.mark.parametrize(
    ("answer", "caption"),
    [
        ("A dog sits on a beach.", "A dog sits on a beach"),
        ('"A dog on a beach."', "A dog on a beach"),
        ("The image shows a dog\non a beach. It is happy.", "a dog on a beach"),
        ("This picture depicts a dog at 3.5 m.", "a dog at 3.5 m"),
        ("A picture of a dog", "a dog"),
        ("<think>hm</think>\n\nA dog.", "A dog"),
        ("", ""),
    ],
)
def test_plain_caption(answer: str, caption: str) -> None:
    assert plain_caption(answer) == caption


@pytest.mark.parametrize(
    ("answer", "whole"),
    [("vibrant, moody, dar", "vibrant, moody"), ("vibrant\nmoo", "vibrant"), ("vibr", "vibr"), ("", "")],
)
def test_what_was_cut_off_loses_its_last_item(answer: str, whole: str) -> None:
    assert whole_part(answer) == whole
