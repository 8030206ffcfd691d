"""Fine-tuning on sources of hard negatives, with the trainer of sentence-transformers."""
