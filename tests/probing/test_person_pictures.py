"""Which of a person's pictures are drawn, and who closes the model that writes their captions."""

import json
from pathlib import Path

import pytest

from xpert.data.pictures import PictureSet, open_pictures
from xpert.device.pictures import picture_files, with_captions
from xpert.records import Picture
from xpert.testing.tiny_pictures import tiny_pictures


@pytest.fixture
def mostly_bare(tmp_path: Path) -> PictureSet:
    folder = tiny_pictures(tmp_path / "mine", count=6)
    rows = [json.loads(line) for line in (folder / "metadata.jsonl").read_text().splitlines()]
    for row in rows[1:]:
        row["text"] = ""
    (folder / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return open_pictures(str(folder), need_captions=False)


def captions(pictures: PictureSet, limit: int, fill: bool) -> list[str | None]:
    with picture_files(pictures, limit=limit, fill=fill) as kept:
        return [picture.caption or None for picture in kept]


def test_where_captions_will_be_written_pictures_without_one_fill_up(mostly_bare: PictureSet) -> None:
    assert [caption is None for caption in captions(mostly_bare, 4, fill=False)] == [False]
    assert sorted(caption is None for caption in captions(mostly_bare, 4, fill=True)) == [False, True, True, True]
    assert len(captions(mostly_bare, 50, fill=True)) == 6
    assert [caption is None for caption in captions(mostly_bare, 1, fill=True)] == [False]


def test_the_vision_model_is_closed_whatever_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[bool] = []

    class Failing:
        def __init__(self, model: str, device: str) -> None:
            return

        def caption(self, files: list[Path], on_progress: object = None) -> list[str]:
            raise KeyboardInterrupt

        def close(self) -> None:
            closed.append(True)

    monkeypatch.setattr("xpert.summarizing.vision.VisionModel", Failing)
    with pytest.raises(KeyboardInterrupt):
        with_captions([Picture(None, Path("a.png"))], "some/vision")
    assert closed == [True]
