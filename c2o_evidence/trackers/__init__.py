"""Results shown in the trackers that people use already: TensorBoard, MLflow, Weights & Biases. Fed from the records.

No evidence depends on what is written here: it can be deleted and written again at any time (`c2o track`).
"""
