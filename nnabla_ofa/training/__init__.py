"""The training of one network on one set of images: settings, losses, updates, the loop, its checkpoints."""
