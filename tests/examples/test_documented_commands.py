"""The documented commands of the paper's scripts, as they stand, on a tiny pipeline."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from diffusers import StableDiffusionPipeline

from xpert.testing.tiny_pictures import Studio

FOLDER = Path(__file__).parents[2] / "examples" / "diffusion"


def environment(studio: Studio, tmp_path: Path) -> dict[str, str]:
    folder = Path(sys.executable).parent
    return os.environ | {
        "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}",
        "BASE_MODEL": str(studio.pipeline),
        "DATASET": str(studio.pictures),
        "FT_DIR": str(tmp_path / "tuned"),
        "XPERT_CACHE": str(tmp_path / "cache"),
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
    }


def test_fine_tune_then_explain(studio: Studio, tmp_path: Path) -> None:
    """All documented options, with fewer steps and a smaller picture."""
    command = """accelerate launch personalized_ft.py --pretrained_model_name_or_path="$BASE_MODEL" \
      --train_data_dir="$DATASET" --caption_column="text" --resolution=32 --center_crop --random_flip \
      --train_batch_size=1 --gradient_accumulation_steps=4 --gradient_checkpointing --mixed_precision="bf16" \
      --max_train_steps=3 --checkpointing_steps=4000 --learning_rate=1e-03 --max_grad_norm=1 \
      --lr_scheduler="constant" --lr_warmup_steps=0 --output_dir="$FT_DIR"
    """
    env = environment(studio, tmp_path)
    done = subprocess.run(["bash", "-c", command], cwd=FOLDER, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "3 steps on 6 pictures" in done.stdout
    assert StableDiffusionPipeline.from_pretrained(env["FT_DIR"], safety_checker=None).unet.config.sample_size == 8
    options = ["--num_sample=4", "--e_ortho=0.9", "--e_decomp=0.1", f"--encoder={studio.clip}", "--vlm=none"]
    done = subprocess.run(
        [
            sys.executable, "explain_diffusion.py", f"--base_model={studio.pipeline}",
            f"--personalized_model={env['FT_DIR']}", "--captions=xpert/captions", *options,
        ],
        cwd=FOLDER, env=env, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "4 pairs of pictures" in done.stdout


@pytest.mark.parametrize(
    ("changed", "said", "code"),
    [
        ({"BASE_MODEL": "nobody/no-such-model"}, "HF_HUB_OFFLINE", 4),
        ({"DATASET": "/no/such/folder"}, "/no/such/folder", 3),
    ],
)
def test_what_is_missing_is_told_at_once(
    studio: Studio, tmp_path: Path, changed: dict[str, str], said: str, code: int
) -> None:
    env = environment(studio, tmp_path) | changed
    command = (
        "python personalized_ft.py --pretrained_model_name_or_path=$BASE_MODEL --train_data_dir=$DATASET "
        "--output_dir=$FT_DIR"
    )
    done = subprocess.run(["bash", "-c", command], cwd=FOLDER, env=env, capture_output=True, text=True, check=False)
    assert (done.returncode, said in done.stderr) == (code, True), done.stderr
    assert "Traceback" not in done.stderr


def test_the_script_that_does_both_has_the_documented_options() -> None:
    script = (FOLDER / "run.sh").read_text()
    for option in (
        "--resolution=512 --center_crop --random_flip",
        "--gradient_accumulation_steps=4",
        "--max_train_steps=1500",
        "--learning_rate=1e-05",
        '--lr_scheduler="constant" --lr_warmup_steps=0',
        "--num_sample=50",
    ):
        assert option in script
    assert subprocess.run(["bash", "-n", str(FOLDER / "run.sh")], check=False).returncode == 0


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("--html=no/such/folder/page.html",), 2, "folder that exists"),
        ((), 4, "give --base_model=stable-diffusion-v1-5/stable-diffusion-v1-5"),
    ],
)
def test_explaining_stops_before_any_painting(
    studio: Studio, tmp_path: Path, arguments: tuple[str, ...], code: int, said: str
) -> None:
    done = subprocess.run(
        [sys.executable, "explain_diffusion.py", f"--personalized_model={studio.loras[0]}", *arguments],
        cwd=FOLDER, env=environment(studio, tmp_path), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, said in done.stderr) == (code, True), done.stderr
    assert not (tmp_path / "cache").exists()


def test_a_rank_of_nothing_is_no_whole_unet(studio: Studio, tmp_path: Path) -> None:
    done = subprocess.run(
        [
            sys.executable, "personalized_ft.py", f"--pretrained_model_name_or_path={studio.pipeline}",
            f"--train_data_dir={studio.pictures}", f"--output_dir={tmp_path / 'tuned'}", "--rank=0",
        ],
        cwd=FOLDER, env=environment(studio, tmp_path), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2 and "rank" in done.stderr, done.stderr


def test_names_with_spaces_stay_whole(tmp_path: Path) -> None:
    """The script with stand-ins for the two programs, which write down what they are given."""
    (tmp_path / "bin").mkdir()
    for name in ("accelerate", "python3"):
        stand_in = tmp_path / "bin" / name
        stand_in.write_text('#!/bin/bash\nprintf "%s\\n" "$@"\n')
        stand_in.chmod(0o755)
    env = os.environ | {"PATH": f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}"}
    env |= {"BASE_MODEL": "my base", "DATASET": "my pictures", "FT_DIR": "my model"}
    done = subprocess.run([str(FOLDER / "run.sh")], env=env, capture_output=True, text=True, check=True)
    told = done.stdout.splitlines()
    assert {"--train_data_dir=my pictures", "--base_model=my base", "--personalized_model=my model"} <= set(told)
