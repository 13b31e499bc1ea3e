"""Training: one fit(), the optimiser, callbacks, folds and budgets."""
