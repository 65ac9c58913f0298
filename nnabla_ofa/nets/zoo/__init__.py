"""Fixed networks, one file a family: functions over the vocabulary of `layers.functional`."""
