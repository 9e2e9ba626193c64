"""Training the bundled model: baselines, changes of a batch, fitting."""
