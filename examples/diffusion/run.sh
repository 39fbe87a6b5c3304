#!/usr/bin/env bash
# Fine-tune a pipeline, then explain what became of it. Set BASE_MODEL, DATASET and FT_DIR to what is yours.
set -euo pipefail
cd "$(dirname "$0")"
# The documented default was taken off the hub: BASE_MODEL=stable-diffusion-v1-5/stable-diffusion-v1-5 is one to be had.
export BASE_MODEL="${BASE_MODEL:-stabilityai/stable-diffusion-2-1-base}"
export DATASET="${DATASET:?give the folder of your pictures: DATASET=folder ./run.sh}"
export FT_DIR="${FT_DIR:-sd-model-finetuned}"

accelerate launch personalized_ft.py \
  --pretrained_model_name_or_path="$BASE_MODEL" \
  --train_data_dir="$DATASET" \
  --caption_column="text" \
  --resolution=512 --center_crop --random_flip \
  --train_batch_size=1 \
  --gradient_accumulation_steps=4 \
  --gradient_checkpointing \
  --mixed_precision="bf16" \
  --max_train_steps=1500 \
  --checkpointing_steps=4000 \
  --learning_rate=1e-05 \
  --max_grad_norm=1 \
  --lr_scheduler="constant" --lr_warmup_steps=0 \
  --output_dir="$FT_DIR"

python3 explain_diffusion.py \
  --base_model="$BASE_MODEL" \
  --personalized_model="$FT_DIR" \
  --num_sample=50
