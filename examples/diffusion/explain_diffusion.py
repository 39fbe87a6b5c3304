"""Explain a personalized image model in words: the documented command of the paper's script.

    python3 explain_diffusion.py --base_model=$BASE_MODEL --personalized_model=$FT_DIR --num_sample=50

A thin door: `xpert image explain` does the same and also writes a page. The explanation is printed at the end.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from xpert.cli.image_sources import DOCUMENTED_BASE, PAPER_CLIP, alone_explained, encoder_for, present_pipeline
from xpert.cli.sources import page_target
from xpert.cli.terminal import Terminal
from xpert.embedded import EMBEDDED_PIPELINES
from xpert.errors import XpertError
from xpert.probing.captions import CAPTIONS_FILE, COCO
from xpert.reporting.bars import explanation_view
from xpert.reporting.gallery import gallery
from xpert.reporting.page import explanation_page, write_page

PAPER_VLM = "Qwen/Qwen2.5-VL-7B-Instruct"


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The documented options; models and captions are options with the documented defaults."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--base_model", default=DOCUMENTED_BASE, help=f"folder or hub name (default {DOCUMENTED_BASE})")
    parser.add_argument("--personalized_model", required=True, help="pipeline, U-Net or LoRA folder")
    parser.add_argument("--num_sample", type=int, default=50, help="captions that both paint")
    parser.add_argument("--e_ortho", type=float, help="largest cosine between two words (default 0.85)")
    parser.add_argument("--e_decomp", type=float, help="residual share at which words are enough (default 0.35)")
    parser.add_argument("--encoder", help=f"CLIP (default {PAPER_CLIP})")
    parser.add_argument("--vlm", help=f"vision-language model (default {PAPER_VLM}); 'none': words of a vocabulary")
    parser.add_argument("--captions", help=f"file or hub dataset (default {COCO})")
    parser.add_argument("--pictures", type=Path, help="folder for the pictures (default: the cache)")
    parser.add_argument("--html", type=Path, help="also write a page with the pictures")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--device", default="auto")
    return parser.parse_args(arguments)


def main() -> int:
    args = parse()
    # A base that brings its own captions, as the package's does, knows no others; its words are those of its CLIP.
    folder = EMBEDDED_PIPELINES.get(args.base_model, Path(args.base_model).expanduser())
    own = (folder / CAPTIONS_FILE).is_file()
    captions = args.captions or (None if own else COCO)
    vision = args.vlm or ("none" if own else PAPER_VLM)
    terminal = Terminal(args.json)
    try:
        page = page_target(args.html)
        present_pipeline(args.base_model, None, "--base_model")
        with terminal.progress(pictures=True) as progress:
            explanation, pairs = alone_explained(
                Path(args.personalized_model).expanduser(),
                args.base_model,
                encoder=args.encoder or encoder_for(args.base_model),
                captions=captions,
                number=args.num_sample,
                vision=None if vision == "none" else vision,
                e_ortho=args.e_ortho,
                e_decomp=args.e_decomp,
                kept_in=args.pictures,
                device=args.device,
                on_progress=progress.stage,
            )
        if args.json:
            print(json.dumps(explanation.model_dump(mode="json"), indent=2), flush=True)
        terminal.show(explanation_view(explanation, title=args.personalized_model, of="pictures"))
        strongest = explanation.strongest(len(explanation.words))
        terminal.show(", ".join(f"{w.word} {w.coefficient:+.3f}" for w in strongest))
        if page is not None:
            shown = gallery(pairs, labels=("base", "personalized"))
            write_page(page, explanation_page(explanation, title=args.personalized_model, pictures=shown))
    except XpertError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
