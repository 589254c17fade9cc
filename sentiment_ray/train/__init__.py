"""Fine-tunes an encoder on prepared reviews with Ray Train. Needs the extra `train`.

trainer.py starts Ray Train, worker.py runs on each worker, loop.py is the training loop. The loss is in loss.py, the
batch budget in batches.py, the learning rate in schedule.py, the trackers in trackers.py, the keys in config.py.
"""

from sentiment_ray.errors import require_extra

require_extra("train", "ray", "torch", "transformers", "pyarrow", "sklearn")
