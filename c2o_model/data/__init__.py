"""Data sets: the embedded `digits`, COCO-format files, batches, Detectron2 registration."""
